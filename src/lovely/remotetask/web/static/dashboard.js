// What the pages can't do by themselves.  Without it, everything can still be done.
"use strict";

// Select all the jobs on a page.
const all = () => document.getElementById("select-all");
const each = () => [...document.querySelectorAll("td.select input")];

function show() {
  const box = all();
  if (!box) return;
  const chosen = each().filter((one) => one.checked).length;
  box.hidden = false;
  box.checked = chosen > 0 && chosen === each().length;
  box.indeterminate = chosen > 0 && !box.checked;
}

document.addEventListener("change", (event) => {
  if (event.target === all()) {
    each().forEach((one) => { one.checked = event.target.checked; });
  }
  show();
});

// Where nobody looks, nothing is asked.
document.addEventListener("htmx:before:request", (event) => {
  if (document.hidden) event.preventDefault();
});

// Say so if a page can't be kept up to date.
function stale(lost) {
  const mark = document.querySelector(".stale");
  if (mark) mark.hidden = !lost;
}

document.addEventListener("htmx:error", () => stale(true));
document.addEventListener("htmx:after:swap", () => { stale(false); show(); });
show();
