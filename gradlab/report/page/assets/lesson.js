/* The sliders choose among positions that were measured; nothing is computed here but where a point stands. */
const lesson = JSON.parse(document.getElementById("lesson-data").textContent);
const lab = document.getElementById("lab");
const picture = document.getElementById("lab-chart");
const sliders = { knob: document.getElementById("knob"), length: document.getElementById("length") };
const zoom = document.getElementById("zoom");
let closer = false;

function standing() {
  return [sliders.knob ? Number(sliders.knob.value) : 0, Number(sliders.length.value)];
}

function pathOf(values, frame) {
  const [left, top, right, bottom] = frame.box;
  const across = (right - left) / (frame.x[1] - frame.x[0]);
  const up = (bottom - top) / (frame.y[1] - frame.y[0]);
  let drawn = "", pen = "M";
  values.forEach((value, index) => {
    if (value === null) { pen = "M"; return; }
    const y = Math.min(Math.max(bottom - (value - frame.y[0]) * up, -3000), 4000);
    drawn += `${pen}${(left + (index + 1 - frame.x[0]) * across).toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  });
  return drawn;
}

function show() {
  const [row, column] = standing();
  const position = lesson.positions[row][column];
  const frame = lesson.frames[closer ? 1 : 0];
  const lines = [...position.lines, ...(position.theory ? [position.theory] : [])];
  const paths = picture.querySelectorAll("path.line");
  paths.forEach((path, index) => path.setAttribute("d", lines[index] ? pathOf(lines[index], frame) : ""));
  picture.classList.toggle("closer", closer);
  const level = picture.querySelector(".level");
  if (level && position.floor !== null) {
    const [, top, , bottom] = frame.box;
    const y = (bottom - (position.floor - frame.y[0]) * (bottom - top) / (frame.y[1] - frame.y[0])).toFixed(1);
    level.setAttribute("y1", y);
    level.setAttribute("y2", y);
    level.nextElementSibling.setAttribute("y", y - 5);
  }
  const readings = lab.querySelectorAll("[data-reading]");
  readings.forEach((shown, index) => { shown.textContent = position.reading[index] ?? "not known"; });
  const names = [...lab.querySelectorAll(".reading dt")].map((term) => term.textContent);
  picture.setAttribute("aria-label", `Gradient by lag. ${position.said} ${position.reading.map((value, index) => `${names[index]} ${value}`).join("; ")}.`);
  document.getElementById("lab-said").textContent = position.said;
  document.getElementById("lab-command").textContent = position.command;
  for (const slider of Object.values(sliders)) {
    if (!slider) continue;
    const value = slider.dataset.values.split("|")[Number(slider.value)];
    slider.setAttribute("aria-valuetext", value);
    document.getElementById(`${slider.id}-value`).textContent = value;
  }
}

for (const slider of Object.values(sliders)) if (slider) slider.addEventListener("input", show);
zoom.addEventListener("click", () => {
  closer = !closer;
  zoom.setAttribute("aria-pressed", String(closer));
  show();
});

for (const button of document.querySelectorAll("[data-check]")) {
  button.addEventListener("click", () => {
    const index = Number(button.dataset.check);
    const [row, column] = standing();
    const right = lesson.questions[index].accepted.some(([a, b]) => a === row && b === column);
    const told = document.getElementById(`verdict-${index}`);
    told.dataset.right = String(right);
    told.textContent = `${right ? "Yes." : "Not there."} ${lesson.positions[row][column].said}`;
  });
}
show();
