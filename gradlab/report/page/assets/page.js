"use strict";
/* What every page has: light and dark, tables that sort, columns behind a toggle, commands that copy.

   Attributes that templates carry:
     .js hidden                   elements that need scripts; shown here
     button[data-theme]           light or dark; holds aria-pressed
     table[data-sortable]         each th of its one header row sorts; th[data-words] compares as text,
                                  td[data-value] is compared instead of its text
     button[data-toggle="ID"]     sets class "open" on the element ID and aria-pressed here, such as for a table
                                  whose cells of class "extra" are hidden until then
     button[data-copy="ID"]       copies the text of the element ID
     details.more                 is opened for printing */
for (const element of document.querySelectorAll(".js")) element.hidden = false;

const theme = document.querySelector("[data-theme]");
if (theme) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const paint = (wanted) => {
    document.documentElement.style.colorScheme = wanted ? "dark" : "light";
    theme.setAttribute("aria-pressed", String(wanted));
  };
  paint(dark.matches);
  dark.addEventListener("change", () => paint(dark.matches));
  theme.addEventListener("click", () => paint(theme.getAttribute("aria-pressed") !== "true"));
}

/* Numbers are compared as numbers: data-value, or the first number of the cell's text. */
function sortKey(cell) {
  const text = cell.dataset.value ?? cell.textContent.trim().replace(/,(?=\d{3})/g, "");
  const number = /[-−]?(?:inf|\d+(?:\.\d+)?(?:e[-+]?\d+)?)/i.exec(text);
  return number ? Number(number[0].replace("−", "-").replace(/inf/i, "Infinity")) : text;
}

function sortBy(table, column, ascending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [sortKey(row.cells[column]), row]);
  const numeric = !table.tHead.rows[0].cells[column].hasAttribute("data-words") && rows.some(([key]) => typeof key === "number");
  rows.sort(([a, first], [b, second]) => {
    if (numeric && typeof a !== typeof b) return typeof a === "string" ? 1 : -1;
    const order = numeric && typeof a === "number" ? a - b : first.cells[column].textContent.localeCompare(second.cells[column].textContent);
    return ascending ? order : -order;
  });
  body.append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table[data-sortable]")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sortBy(table, column, ascending);
    });
  });
}

for (const button of document.querySelectorAll("[data-toggle]")) {
  button.addEventListener("click", () => {
    const open = document.getElementById(button.dataset.toggle).classList.toggle("open");
    button.setAttribute("aria-pressed", String(open));
  });
}

addEventListener("beforeprint", () => { for (const fold of document.querySelectorAll("details.more")) fold.open = true; });

/* A page from disk may not be allowed to use the clipboard; then the text is selected to be copied by hand. */
async function copy(button) {
  const source = document.getElementById(button.dataset.copy), before = button.textContent;
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = before; }, 1500);
}
for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
