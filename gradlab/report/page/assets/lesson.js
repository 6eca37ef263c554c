"use strict";
/* The questions of a lesson: is the position of the sliders one that answers it? And the position in words for those
   who cannot see the figure.

   Markup that the template carries:
     #lab[data-choices]           the container of figures.js; each position is an element in it with data-options, and
                                  holds one [data-said], the sentence about it
     #lab-status[role=status]     receives the sentence and the numbers of the chosen position
     button[data-check="ID"]      data-accepted='[{"gain": "0.5", "length T": "20"}, ...]': options of the positions that
                                  answer the question; the verdict is written to the element ID with data-right */
const lab = document.getElementById("lab");
const chosen = () => lab.querySelector("[data-options]:has([data-said]):not(.unchosen)");
lab.addEventListener("choose", () => {
  const text = [...chosen().querySelectorAll("[data-said], dt, dd")].map((each) => each.textContent).join(" ");
  document.getElementById("lab-status").textContent = text;
  for (const svg of lab.querySelectorAll("svg")) svg.setAttribute("aria-label", `Gradient by lag. ${text}`);
});
for (const button of document.querySelectorAll("[data-check]")) {
  button.addEventListener("click", () => {
    const options = JSON.parse(chosen().dataset.options);
    const right = JSON.parse(button.dataset.accepted).some((one) => Object.entries(one).every(([key, value]) => options[key] === value));
    const verdict = document.getElementById(button.dataset.check);
    verdict.dataset.right = String(right);
    verdict.textContent = `${right ? "Yes." : "Not there."} ${chosen().querySelector("[data-said]").textContent}`;
  });
}
