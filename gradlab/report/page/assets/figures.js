"use strict";
/* Figures that were drawn beforehand: one line stands out when its name is pressed, and the pointer reads points. */
(() => {
  const source = document.getElementById("points");
  if (!source) return;
  const figures = JSON.parse(source.textContent);
  const NS = "http://www.w3.org/2000/svg";
  const number = (value) => (Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3) ? value.toExponential(3) : value.toLocaleString("en", { maximumSignificantDigits: 4 })).replace("-", "−");

  /* Where a value stands between the ends of an axis, 0 to 1. */
  function share([scale, low, high], value) {
    const place = scale === "linear" ? (each) => each : scale === "log" ? (each) => Math.log(each)
      : (each) => Math.sign(each) * (Math.abs(each) <= scale ? Math.abs(each) / scale : 1 + Math.log10(Math.abs(each) / scale));
    return (place(value) - place(low)) / (place(high) - place(low));
  }

  for (const [name, panels] of Object.entries(figures)) {
    const figure = document.getElementById(name), svg = figure.querySelector("svg");
    const readout = document.createElement("p");
    readout.className = "readout";
    readout.setAttribute("aria-live", "polite");
    const cross = document.createElementNS(NS, "circle");
    cross.setAttribute("r", 4);
    cross.setAttribute("stroke", "var(--paper)");
    cross.setAttribute("visibility", "hidden");
    svg.append(cross);
    const points = panels.flatMap((panel) => panel.series.flatMap((line) => line.x.flatMap((x, index) => {
      if (x === null || line.y[index] === null) return [];
      const [left, top, width, height] = panel.box;
      return [{ panel, line, x, y: line.y[index], px: left + share(panel.x, x) * width, py: top + (1 - share(panel.y, line.y[index])) * height }];
    })));
    let at = -1, only = null;
    const shown = () => points.filter((point) => only === null || point.line.label === only);
    const read = (point) => {
      readout.textContent = `${point.line.label}: ${point.panel.x_name} ${number(point.x)}: ${number(point.y)} ${point.panel.y_name}`;
      cross.setAttribute("cx", point.px);
      cross.setAttribute("cy", point.py);
      cross.setAttribute("fill", point.line.colour < 0 ? "var(--ink)" : `var(--c${point.line.colour})`);
      cross.setAttribute("visibility", "visible");
    };
    svg.addEventListener("pointermove", (event) => {
      const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      let best = null;
      shown().forEach((point) => {
        const away = Math.hypot(point.px - place.x, point.py - place.y);
        if (!best || away < best[0]) best = [away, point];
      });
      if (best && best[0] < 60) { at = shown().indexOf(best[1]); read(best[1]); }
    });
    const box = svg.closest(".scroll");
    box.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step || event.target !== box || !points.length) return;
      event.preventDefault();
      const some = shown();
      at = (at + step + some.length) % some.length;
      read(some[at]);
    });
    figure.querySelector(".scroll").after(readout);

    const colours = new Map(panels.flatMap((panel) => panel.series.map((line) => [line.label, line.colour])));
    const clear = new Set([...colours.values()]).size === colours.size;
    if (colours.size < 2 || colours.size > 24) continue;
    const key = document.createElement("div");
    key.className = "key";
    key.setAttribute("role", "group");
    key.setAttribute("aria-label", "Highlight a line");
    for (const [label, colour] of colours) {
      const button = document.createElement("button");
      button.type = "button";
      const swatch = document.createElementNS(NS, "svg");
      swatch.setAttribute("viewBox", "0 0 10 10");
      swatch.setAttribute("width", 10);
      swatch.setAttribute("height", 10);
      swatch.setAttribute("aria-hidden", "true");
      const dot = document.createElementNS(NS, "circle");
      for (const [attribute, value] of Object.entries({ cx: 5, cy: 5, r: 4.5, fill: colour < 0 ? "var(--ink)" : `var(--c${colour})` })) dot.setAttribute(attribute, value);
      swatch.append(dot);
      button.append(swatch, ` ${label}`);
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => {
        only = only === label ? null : label;
        for (const other of key.children) other.setAttribute("aria-pressed", String(other === button && only !== null));
        highlight(only === null ? null : colour);
      });
      key.append(button);
    }
    /* Everything of a line has its colour of the palette, letters have that of the same number. */
    function highlight(colour) {
      for (const part of svg.querySelectorAll("[fill^='var(--c'],[stroke^='var(--c'],[fill^='var(--t'],[stroke^='var(--t']")) {
        const said = `${part.getAttribute("fill")} ${part.getAttribute("stroke")}`;
        part.classList.toggle("dim", colour !== null && part !== cross && !new RegExp(`--[ct]${colour}\\)`).test(said));
      }
    }
    if (clear) readout.after(key);
  }
})();
