"use strict";
/* The curves of runs that a reader chooses: redrawn at every choice, read under the pointer or by arrow keys. */
(() => {
  const source = document.getElementById("choices");
  const root = document.getElementById("explore");
  if (!source || !root) return;
  const data = JSON.parse(source.textContent);
  const runs = data.runs;
  const NS = "http://www.w3.org/2000/svg";
  const WIDE = 760, HIGH = 400, LEFT = 58, RIGHT = 14, TOP = 14, BOTTOM = 46;
  const DASHES = ["", "6 3", "2 2.5", "8 3 2 3"];
  const control = (name) => root.querySelector(`[data-choose="${name}"]`);
  const chart = root.querySelector("[data-chart]");
  const readout = root.querySelector("[data-readout]");
  const key = root.querySelector("[data-key]");
  const commandBox = document.getElementById("explore-command");
  const map = document.getElementById("explore-map");
  let lines = [], chosen = null, pointed = 0;

  const make = (name, attributes, text) => {
    const element = document.createElementNS(NS, name);
    for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const unique = (values) => [...new Set(values)];
  const minus = (number, digits) => number.toFixed(digits).replace("-", "−");
  const grouped = (number) => number.toLocaleString("en");

  function fill(name, values, first) {
    const select = control(name), before = select.value;
    const all = first ? [["", first], ...values.map((value) => [String(value), String(value)])] : values.map((value) => [String(value), String(value)]);
    select.replaceChildren(...all.map(([value, text]) => new Option(text, value)));
    if (all.some(([value]) => value === before)) select.value = before;
  }
  function refill() {
    fill("task", unique(runs.map((run) => run.task)));
    const ofTask = runs.filter((run) => run.task === control("task").value);
    fill("length", unique(ofTask.map((run) => run.T)).sort((a, b) => a - b));
    if (refill.fresh) control("length").selectedIndex = control("length").options.length - 1;
    const there = ofTask.filter((run) => String(run.T) === control("length").value);
    fill("setting", unique(there.map((run) => run.setting)), "all cells");
    fill("seed", unique(there.map((run) => run.seed)).sort((a, b) => a - b), "all seeds");
    if (refill.fresh) control("seed").selectedIndex = 1;
    refill.fresh = false;
    fill("leaf", unique(there.flatMap((run) => Object.keys(run.curves))));
    fill("when", unique(there.flatMap((run) => Object.keys(run.roles))), "every checkpoint");
  }
  refill.fresh = true;

  /* Which lines there are: colour by cell, dashes by checkpoint, or by cell where one checkpoint is shown. */
  function choose() {
    const want = Object.fromEntries(["task", "length", "setting", "seed", "leaf", "when"].map((name) => [name, control(name).value]));
    const there = runs.filter((run) => run.task === want.task && String(run.T) === want.length);
    const settings = unique(there.map((run) => run.setting));
    const found = [];
    for (const run of there) {
      if (want.setting && run.setting !== want.setting) continue;
      if (want.seed && String(run.seed) !== want.seed) continue;
      const curves = run.curves[want.leaf] || {};
      for (const [role, values] of Object.entries(curves)) {
        if (want.when && role !== want.when) continue;
        const place = settings.indexOf(run.setting), roles = ["initial", "worst", "final"];
        const base = values[0] ?? 0, odd = ((run.odd || {})[want.leaf] || {})[role] || {};
        found.push({
          noise: new Set(odd.noise || []), odd: odd.said || "",
          run, role, values: values.map((value) => (value === null ? null : (value - base) / 100)),
          level: values.map((value) => (value === null ? null : value / 100)), base: base / 100,
          band: want.leaf === "state" && run.band ? run.band[role].map((edge) => edge.map((value) => (value === null ? null : (value - base) / 100))) : null,
          colour: `var(--c${place % 10})`, dash: DASHES[want.when ? place % 4 : roles.indexOf(role)],
        });
      }
    }
    return found;
  }
  const name = (line) => `${line.run.setting}, seed ${line.run.seed}, ${line.role} (training step ${grouped(line.run.roles[line.role])})`;

  let scale = null;
  function draw() {
    lines = choose();
    if (!lines.includes(chosen)) chosen = lines.find((line) => chosen && line.run === chosen.run && line.role === chosen.role) || null;
    const byTime = control("axis").value === "timestep";
    const steps = Math.max(1, ...lines.map((line) => line.run.timesteps));
    const among = (noisy) => lines.flatMap((line) => line.values.filter((value, i) => value !== null && line.noise.has(i) === noisy));
    let low = Math.min(-1, ...among(false)), high = Math.max(0.2, ...among(false));
    /* What rounding makes of a value may lie anywhere: it gets some room, and must not flatten what is a value. */
    const beside = among(true), more = among(false).length ? Math.max(30, high - low) : Infinity;
    [low, high] = [Math.max(low - more, Math.min(low, ...beside)), Math.min(high + more, Math.max(high, ...beside))];
    const room = 0.05 * (high - low); low -= room; high += room;
    /* Lag k is the state after timestep T - k. */
    const first = byTime ? 0 : 1, last = byTime ? steps - 1 : steps;
    const x = (lag) => LEFT + ((byTime ? steps - lag : lag) - first) / Math.max(1, last - first) * (WIDE - LEFT - RIGHT);
    const y = (value) => TOP + (high - value) / (high - low) * (HIGH - TOP - BOTTOM);
    scale = { x, y, steps, byTime, low, high };
    const parts = [];
    for (const tick of ticks(low, high, 6)) {
      parts.push(make("line", { x1: LEFT, x2: WIDE - RIGHT, y1: y(tick), y2: y(tick), stroke: "var(--grid)" }));
      parts.push(make("text", { x: LEFT - 8, y: y(tick) + 3.5, "text-anchor": "end" }, minus(tick, Math.abs(tick % 1) > 0.01 ? 1 : 0)));
    }
    for (const tick of ticks(first, last, 7).filter((each) => Number.isInteger(each))) {
      const at = x(byTime ? steps - tick : tick);
      parts.push(make("text", { x: at, y: HIGH - BOTTOM + 17, "text-anchor": "middle" }, grouped(tick)));
      parts.push(make("line", { x1: at, x2: at, y1: HIGH - BOTTOM, y2: HIGH - BOTTOM + 4, stroke: "var(--muted)" }));
    }
    parts.push(make("line", { x1: LEFT, x2: WIDE - RIGHT, y1: HIGH - BOTTOM, y2: HIGH - BOTTOM, stroke: "var(--muted)" }));
    const words = byTime ? "timestep t of the state (T − lag)" : "lag (timesteps before the loss)";
    parts.push(make("text", { x: (LEFT + WIDE - RIGHT) / 2, y: HIGH - 8, "text-anchor": "middle" }, words));
    parts.push(make("text", { x: 14, y: (TOP + HIGH - BOTTOM) / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${(TOP + HIGH - BOTTOM) / 2})` }, "decades from lag 1"));
    floors(parts, low, high, y);
    for (const line of lines) parts.push(...drawn(line, x, y));
    if (lines.length && !among(false).length && !beside.length) {
      const why = unique(lines.map((line) => line.odd)).filter(Boolean).join("; ");
      parts.push(make("text", { x: (LEFT + WIDE - RIGHT) / 2, y: (TOP + HIGH - BOTTOM) / 2, "text-anchor": "middle" }, `Nothing to draw: ${why}`));
    }
    parts.push(make("g", { "data-cross": "" }));
    chart.replaceChildren(...parts);
    describe();
    mark();
  }
  function ticks(low, high, count) {
    const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(Math.max(rough, 1e-9)));
    const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough) || power;
    const found = [];
    for (let tick = Math.ceil(low / step) * step; tick <= high + 1e-9; tick += step) found.push(Math.round(tick / step) * step);
    return found;
  }
  function floors(parts, low, high, y) {
    const levels = lines.map((line) => line.base).sort((a, b) => a - b);
    if (!levels.length) return;
    const level = levels[Math.floor(levels.length / 2)];
    const close = y(data.floors[1]) - y(data.floors[0]) < 18;
    data.floors.forEach((floor, index) => {
      if (floor - level <= low || floor - level >= high) return;
      const at = y(floor - level);
      parts.push(make("line", { x1: LEFT, x2: WIDE - RIGHT, y1: at, y2: at, stroke: "var(--muted)", "stroke-dasharray": "3 3" }));
      if (close && index === 0) return;
      const words = close ? "float32 reads 0: norms, then entries" : index ? "float32 entries read 0" : "naive float32 norms read 0";
      parts.push(make("text", { x: WIDE - RIGHT, y: close ? at + 14 : at - 4, "text-anchor": "end" }, words));
    });
  }
  function drawn(line, x, y) {
    const parts = [], lags = line.run.lags;
    const few = lines.length <= 9;
    if (line.band && few) {
      const edge = (values, order) => order.filter((i) => values[i] !== null && line.values[i] !== null && !line.noise.has(i)).map((i) => `${x(lags[i]).toFixed(1)} ${y(values[i]).toFixed(1)}`);
      const all = [...lags.keys()], outline = [...edge(line.band[0], all), ...edge(line.band[1], all.slice().reverse())];
      parts.push(make("polygon", { points: outline.join(" "), fill: line.colour, "fill-opacity": 0.14 }));
    }
    const path = (wanted) => {
      let text = "", pen = "M";
      line.values.forEach((value, i) => {
        if (value === null || !wanted(i) || value < scale.low || value > scale.high) { pen = "M"; return; }
        text += `${pen}${x(lags[i]).toFixed(1)} ${y(value).toFixed(1)}`;
        pen = "L";
      });
      return text;
    };
    parts.push(make("path", { d: path((i) => !line.noise.has(i)) || "M0 0", fill: "none", stroke: line.colour, "stroke-width": few ? 2 : 1.3, "stroke-dasharray": line.dash }));
    if (line.noise.size) parts.push(make("path", { d: path((i) => line.noise.has(i) || line.noise.has(i + 1)) || "M0 0", fill: "none", stroke: "var(--muted)", "stroke-width": 1.5, "stroke-dasharray": "1 2.5", "data-noise": "" }));
    for (const part of parts) part.dataset.line = lines.indexOf(line);
    return parts;
  }
  function describe() {
    const spans = lines.map((line) => line.values.at(-1)).filter((value) => value !== null);
    const range = spans.length ? `; the last lag stands from ${minus(Math.min(...spans), 1)} to ${minus(Math.max(...spans), 1)} decades` : "";
    chart.setAttribute("aria-label", `${lines.length} curves${range}`);
    key.replaceChildren(...lines.slice(0, 24).map((line) => {
      const button = document.createElement("button");
      button.type = "button";
      const swatch = make("svg", { viewBox: "0 0 26 8", width: 26, height: 8, "aria-hidden": "true" });
      swatch.append(make("line", { x1: 1, x2: 25, y1: 4, y2: 4, stroke: line.colour, "stroke-width": 2.5, "stroke-dasharray": line.dash }));
      button.append(swatch, ` ${line.run.setting}, seed ${line.run.seed}, ${line.role}${line.odd ? ` (${line.odd})` : ""}`);
      button.setAttribute("aria-pressed", String(line === chosen));
      button.addEventListener("click", () => select(line === chosen ? null : line));
      return button;
    }));
    if (lines.length > 24) key.append(` and ${lines.length - 24} more: choose a cell or a seed`);
  }
  function select(line) {
    chosen = line;
    describe();
    mark();
  }
  function mark() {
    for (const part of chart.querySelectorAll("[data-line]")) {
      const own = !chosen || lines[Number(part.dataset.line)] === chosen;
      part.classList.toggle("dim", !own);
      part.classList.toggle("bright", own && Boolean(chosen) && part.tagName === "path");
    }
    const shown = chosen || lines[0];
    commandBox.textContent = shown ? `${data.commands[shown.run.command]} ${shown.run.seed}` : "";
    drawMap(shown && shown.run);
  }

  function point(line, index) {
    const lag = line.run.lags[index], value = line.values[index];
    const cross = chart.querySelector("[data-cross]");
    const where = scale.byTime ? `timestep ${grouped(scale.steps - lag)} (lag ${grouped(lag)})` : `lag ${grouped(lag)}`;
    const said = value === null ? "zero or not finite" : `${minus(value, 2)} decades from lag 1 (log10 norm ${minus(line.level[index], 2)})${line.noise.has(index) ? ", rounding noise" : ""}`;
    readout.textContent = `${name(line)}: ${where}: ${said}`;
    cross.replaceChildren();
    if (value === null) return;
    cross.append(make("line", { x1: scale.x(lag), x2: scale.x(lag), y1: TOP, y2: HIGH - BOTTOM, stroke: "var(--muted)", "stroke-width": 0.7 }));
    cross.append(make("circle", { cx: scale.x(lag), cy: scale.y(value), r: 4.5, fill: line.colour, stroke: "var(--paper)", "stroke-width": 1.5 }));
  }
  function nearest(event) {
    const box = chart.getBoundingClientRect();
    const px = (event.clientX - box.left) / box.width * WIDE, py = (event.clientY - box.top) / box.height * HIGH;
    let best = null;
    for (const line of chosen ? [chosen] : lines) {
      line.run.lags.forEach((lag, index) => {
        if (line.values[index] === null) return;
        const away = Math.abs(scale.x(lag) - px) * 3 + Math.abs(scale.y(line.values[index]) - py);
        if (!best || away < best[0]) best = [away, line, index];
      });
    }
    return best;
  }
  chart.addEventListener("pointermove", (event) => {
    const best = nearest(event);
    if (best) { pointed = best[2]; point(best[1], best[2]); }
  });
  chart.addEventListener("click", (event) => {
    const target = event.target.closest("[data-line]"), before = chosen;
    chosen = null;
    const best = target ? [0, lines[Number(target.dataset.line)]] : nearest(event);
    select(best && best[1] !== before ? best[1] : null);
  });
  chart.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (!lines.length || (!steps && event.key !== "Escape")) return;
    event.preventDefault();
    if (!steps) { select(null); return; }
    const at = Math.max(0, lines.indexOf(chosen));
    const line = lines[(at + steps[1] + lines.length) % lines.length];
    const forward = scale.byTime ? -steps[0] : steps[0];
    pointed = Math.min(line.run.lags.length - 1, Math.max(0, pointed + forward));
    if (line !== chosen) select(line);
    point(line, pointed);
  });

  /* Seven colours of viridis; those between are mixed. */
  const VIRIDIS = [[68, 1, 84], [68, 57, 131], [49, 104, 142], [33, 145, 140], [53, 183, 121], [144, 215, 67], [253, 231, 37]];
  function colour(share) {
    const at = Math.min(0.9999, Math.max(0, share)) * (VIRIDIS.length - 1), low = Math.floor(at);
    return `rgb(${VIRIDIS[low].map((part, index) => Math.round(part + (VIRIDIS[low + 1][index] - part) * (at - low))).join(" ")})`;
  }
  function drawMap(run) {
    if (!map) return;
    const box = map.querySelector("[data-map]"), said = map.querySelector("[data-map-said]");
    map.hidden = !run || !run.map || run.map.length < 2;
    if (map.hidden) return;
    const rows = run.map.map((row) => row.map((value) => (value === null ? null : (value - (row[0] ?? 0)) / 100)));
    const values = rows.flat().filter((value) => value !== null);
    const low = Math.min(...values), high = Math.max(...values, low + 1e-9);
    const tall = 20, wide = (WIDE - 90 - RIGHT) / run.timesteps, parts = [];
    rows.forEach((row, index) => {
      parts.push(make("text", { x: 82, y: index * tall + 14, "text-anchor": "end" }, grouped(run.steps[index])));
      row.forEach((value, column) => {
        const from = column ? (run.lags[column - 1] + run.lags[column]) / 2 : 0.5;
        const to = column + 1 < row.length ? (run.lags[column] + run.lags[column + 1]) / 2 : run.timesteps + 0.5;
        const cell = make("rect", { x: 90 + (from - 0.5) * wide, y: index * tall, width: (to - from) * wide + 0.3, height: tall, "shape-rendering": "crispEdges", fill: value === null ? "var(--rule)" : colour((value - low) / (high - low)) });
        cell.dataset.said = `training step ${grouped(run.steps[index])}, lag ${grouped(run.lags[column])}: ${value === null ? "zero, not finite or rounding noise" : `${minus(value, 2)} decades from lag 1`}`;
        parts.push(cell);
      });
    });
    const bottom = rows.length * tall;
    for (const tick of ticks(1, run.timesteps, 7).filter((each) => Number.isInteger(each) && each >= 1)) {
      parts.push(make("text", { x: 90 + (tick - 0.5) * wide, y: bottom + 16, "text-anchor": "middle" }, grouped(tick)));
    }
    parts.push(make("text", { x: 90, y: bottom + 34 }, "training step by lag (timesteps before the loss)"));
    box.setAttribute("viewBox", `0 0 ${WIDE} ${bottom + 42}`);
    const where = `${run.setting}, T = ${grouped(run.T)}, seed ${run.seed}`;
    const text = !values.length ? `${where}: every value is zero, not finite or rounding noise` : `${where}: from ${minus(low, 1)} (dark) to ${minus(high, 1)} (bright) decades from lag 1`;
    box.setAttribute("aria-label", text);
    box.replaceChildren(...parts);
    said.textContent = text;
  }
  if (map) {
    map.querySelector("[data-map]").addEventListener("pointermove", (event) => {
      if (event.target.dataset.said) map.querySelector("[data-map-said]").textContent = event.target.dataset.said;
    });
  }

  root.addEventListener("change", () => { refill(); draw(); });
  refill();
  draw();
})();
