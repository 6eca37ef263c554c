"use strict";
/* The questions of a lesson: is the position that the sliders chose one that answers it?

   Markup that the template carries:
     #lab[data-choices]           the container of figures.js; each position is an element in it with data-options, and
                                  holds one [data-said], the sentence about it
     button[data-check="ID"]      data-accepted='[{"Gain": "0.5", "Length T": "20"}, ...]': options of the positions that
                                  answer the question; the verdict is written to the element ID with data-right */
const lab = document.getElementById("lab");
for (const button of document.querySelectorAll("[data-check]")) {
  button.addEventListener("click", () => {
    const position = lab.querySelector("[data-options]:has([data-said]):not(.unchosen)"), chosen = JSON.parse(position.dataset.options);
    const right = JSON.parse(button.dataset.accepted).some((one) => Object.entries(one).every(([key, value]) => chosen[key] === value));
    const verdict = document.getElementById(button.dataset.check);
    verdict.dataset.right = String(right);
    verdict.textContent = `${right ? "Yes." : "Not there."} ${position.querySelector("[data-said]").textContent}`;
  });
}
