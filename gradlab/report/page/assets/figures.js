"use strict";
/* Figures that were drawn beforehand: values under the pointer and arrow keys, lines that hide, figures that are chosen.

   Markup that templates carry, with the fields of EmbeddedFigure in capitals:
     figure#NAME.drawing          holds div.scroll[tabindex=0][role=group][aria-label=HEADING] around SVG, then
                                  figcaption#NAME-caption with CAPTION
     script#figure-data           application/json: {"NAME": DATA, ...}
     [data-choices]               around elements with data-options='CHOICES as JSON', such as {"Task": "adding"}: shows
                                  those whose options are chosen. A select is made here for each name of an option,
                                  unless the container has input[type=range][data-choice="NAME OF OPTION"]: its positions
                                  are the values of that option in order of the page; an output[for="its id"] shows
                                  the chosen one, after data-prefix of the input. Each change is an event "choose" of
                                  the container. Without scripts, and printed, all elements are shown. */
const unique = (values) => [...new Set(values)];

for (const box of document.querySelectorAll("[data-choices]")) {
  const items = [...box.querySelectorAll("[data-options]")].map((element) => ({ element, options: JSON.parse(element.dataset.options) }));
  const bar = document.createElement("div");
  bar.className = "choosing";
  box.prepend(bar);
  const controls = unique(items.flatMap((item) => Object.keys(item.options))).map((key) => {
    const slider = box.querySelector(`input[data-choice="${key}"]`);
    if (slider) return { key, slider };
    const label = document.createElement("label"), select = document.createElement("select");
    label.append(key, select);
    bar.append(label);
    return { key, label, select };
  });
  const fits = (options, wanted) => Object.entries(wanted).every(([key, value]) => !(key in options) || options[key] === value);
  function update() {
    const wanted = {};
    for (const { key, slider, label, select } of controls) { // each offers what the choices before it leave
      const offered = unique(items.filter(({ options }) => key in options && fits(options, wanted)).map(({ options }) => options[key]));
      if (slider) {
        wanted[key] = offered[Math.min(Number(slider.value), offered.length - 1)];
        const text = `${slider.dataset.prefix ?? ""}${wanted[key]}`;
        slider.setAttribute("aria-valuetext", text);
        for (const output of box.querySelectorAll(`output[for="${slider.id}"]`)) output.textContent = text;
      } else {
        const before = select.value;
        select.replaceChildren(...offered.map((value) => new Option(value, value)));
        if (offered.includes(before)) select.value = before;
        label.hidden = offered.length < 2;
        if (offered.length) wanted[key] = select.value;
      }
    }
    for (const { element, options } of items) element.classList.toggle("unchosen", !fits(options, wanted));
    box.dispatchEvent(new Event("choose"));
  }
  for (const { slider, select } of controls) (slider ?? select).addEventListener("input", update);
  update();
}

/* Where a value stands between the ends of an axis, 0 to 1. */
function share([scale, low, high], value) {
  const place = scale === "linear" ? (each) => each : scale === "log" ? Math.log
    : (each) => Math.sign(each) * (Math.abs(each) <= scale ? Math.abs(each) / scale : 1 + Math.log10(Math.abs(each) / scale));
  return (place(value) - place(low)) / (place(high) - place(low));
}
const plain = (value) => (Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3) ? value.toExponential(3) : value.toLocaleString("en", { maximumSignificantDigits: 4 })).replace("-", "−");

function watch(name, panels) {
  const svg = document.getElementById(name).querySelector("svg"), box = svg.closest(".scroll");
  const lines = panels.flatMap((panel) => panel.lines.map((line) => ({ ...line, points: line.x.flatMap((x, index) => {
    const y = line.y[index], [left, top, width, height] = panel.box;
    if (x === null || y === null) return [];
    const text = `${line.label}: ${panel.x_name} ${plain(x)}: ${plain(y)} ${panel.y_name}`;
    return [{ text, px: left + share(panel.x, x) * width, py: top + (1 - share(panel.y, line.height ?? y)) * height }];
  }) }))).filter((line) => line.points.length);
  const readout = document.createElement("p"), cross = document.createElementNS(svg.namespaceURI, "circle");
  readout.className = "readout";
  readout.setAttribute("aria-live", "polite");
  box.after(readout);
  for (const event of ["focus", "pointerenter"]) box.addEventListener(event, () => {
    readout.textContent ||= "Pointer and arrow keys read values. A name in the legend, or Enter, hides its line and shows it again.";
  });
  cross.setAttribute("r", 4);
  cross.setAttribute("class", "cross");
  svg.append(cross);

  const hidden = new Set();
  const parts = (label) => lines.filter((line) => line.id && line.label === label).flatMap((line) => [...svg.querySelectorAll(`[id^="${name}-${line.id}-"]`)]);
  const shown = () => lines.filter((line) => !hidden.has(line.label));
  function toggle(label) {
    if (!hidden.delete(label)) hidden.add(label);
    for (const part of parts(label)) part.classList.toggle(/-(key|name)$/.test(part.id) ? "off" : "gone", hidden.has(label));
    cross.removeAttribute("cx");
    readout.textContent = `${label} is ${hidden.has(label) ? "hidden" : "shown"}`;
  }
  function highlight(label) {
    for (const line of lines) for (const part of parts(line.label)) part.classList.toggle("dim", label !== null && line.label !== label);
  }
  function read(point) {
    readout.textContent = point.text;
    cross.setAttribute("cx", point.px);
    cross.setAttribute("cy", point.py);
  }
  const named = (target) => lines.find((line) => line.id && target.closest(`[id="${name}-${line.id}-key"],[id="${name}-${line.id}-name"]`));
  svg.addEventListener("click", (event) => { const line = named(event.target); if (line) toggle(line.label); });
  svg.addEventListener("pointerover", (event) => highlight(named(event.target)?.label ?? null));
  svg.addEventListener("pointerleave", () => highlight(null));
  svg.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const away = (point) => Math.hypot(point.px - at.x, point.py - at.y);
    const near = shown().flatMap((line) => line.points).reduce((best, point) => (best && away(best) <= away(point) ? best : point), null);
    if (near && away(near) < 60) read(near);
  });
  let line = 0, point = -1;
  box.addEventListener("keydown", (event) => {
    const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1], Enter: [0, 0], Escape: [0, 0] }[event.key];
    if (!step || event.target !== box || !lines.length) return;
    event.preventDefault();
    if (event.key === "Escape") { [...hidden].forEach(toggle); highlight(null); return; }
    line = (line + step[1] + lines.length) % lines.length;
    point = Math.min(lines[line].points.length - 1, Math.max(0, point + step[0]));
    if (event.key === "Enter") toggle(lines[line].label);
    else { highlight(lines[line].id ? lines[line].label : null); read(lines[line].points[point]); }
  });
  box.addEventListener("blur", () => highlight(null));
}
const figureData = document.getElementById("figure-data");
if (figureData) for (const [name, panels] of Object.entries(JSON.parse(figureData.textContent))) watch(name, panels);
