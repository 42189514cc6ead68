"use strict";

// Tables: a click on a heading sorts by it, a second click the other way round; blanks stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("th button").forEach((button) => {
    button.addEventListener("click", () => sortBy(table, button.closest("th")));
  });
}

function sortBy(table, heading) {
  const column = heading.cellIndex;
  const descending = heading.getAttribute("aria-sort") !== "descending";
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const key = (row) => row.cells[column].dataset.value;
  const rows = [...table.tBodies[0].rows];
  rows.sort((left, right) => compare(key(left), key(right), descending));
  table.tBodies[0].append(...rows);
}

function compare(left, right, descending) {
  if (left === "" || right === "") return (left === "") - (right === "");
  const numbers = [Number(left), Number(right)];
  const order = numbers.some(Number.isNaN) ? left.localeCompare(right) : numbers[0] - numbers[1];
  return descending ? -order : order;
}

// Gallery: filter by class and by name; within a class the worst of that class come first.
const gallery = document.getElementById("gallery");
const chosenClass = document.getElementById("class-filter");
const chosenName = document.getElementById("name-filter");

function filterGallery() {
  const name = chosenName.value.toLowerCase();
  const figures = [...gallery.children];
  const score = (figure) => {
    const scores = JSON.parse(figure.dataset.classes);
    return chosenClass.value === "" ? Number(figure.dataset.miou) : scores[chosenClass.value];
  };
  let shown = 0;
  for (const figure of figures) {
    const fits = score(figure) !== undefined && figure.dataset.key.toLowerCase().includes(name);
    figure.hidden = !fits;
    shown += fits;
  }
  figures.sort((left, right) => (score(left) ?? 2) - (score(right) ?? 2));
  gallery.append(...figures);
  document.getElementById("shown").textContent = `${shown} of ${figures.length} shown`;
}

if (gallery) {
  chosenClass.addEventListener("change", filterGallery);
  chosenName.addEventListener("input", filterGallery);
  filterGallery();
}

// Heatmap: rows truth, columns prediction, colour = share of the row; a tap or the mouse reads a cell.
const heatmap = JSON.parse(document.getElementById("confusion").textContent);
const canvas = document.getElementById("heatmap");
const side = heatmap.names.length;
const step = Math.max(3, Math.min(28, Math.floor(900 / side)));
canvas.width = canvas.height = side * step;
const context = canvas.getContext("2d");
const totals = heatmap.matrix.map((row) => row.reduce((sum, pixels) => sum + pixels, 0));

function paint() {
  for (let row = 0; row < side; row += 1) {
    for (let column = 0; column < side; column += 1) {
      const share = totals[row] ? heatmap.matrix[row][column] / totals[row] : 0;
      const strength = Math.sqrt(share);
      const hue = row === column ? 150 : 8;
      context.fillStyle = `hsl(${hue} 65% ${96 - 58 * strength}%)`;
      context.fillRect(column * step, row * step, step, step);
    }
  }
  context.fillStyle = "#0003";
  context.fillRect((side - 1) * step, 0, 1, side * step);
  context.fillRect(0, (side - 1) * step, side * step, 1);
}

function readCell(event) {
  const box = canvas.getBoundingClientRect();
  const place = (offset, length) => Math.min(side - 1, Math.max(0, Math.floor((offset / length) * side)));
  const column = place(event.clientX - box.left, box.width);
  const row = place(event.clientY - box.top, box.height);
  const pixels = heatmap.matrix[row][column];
  const share = totals[row] ? ((100 * pixels) / totals[row]).toFixed(2) : "0";
  document.getElementById("cell").textContent =
    `truth ${heatmap.names[row]}, predicted ${heatmap.names[column]}: ` +
    `${pixels.toLocaleString("en")} pixels, ${share} % of the row`;
}

paint();
canvas.addEventListener("mousemove", readCell);
canvas.addEventListener("click", readCell);
