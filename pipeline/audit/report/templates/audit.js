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
  foldRows(table);
}

// A phone shows less at once: parts are closed there, and long tables begin with their first rows.
const narrow = innerWidth < 640;
if (narrow) for (const part of document.querySelectorAll("details.part")) part.open = false;

function foldRows(table) {
  const button = table.closest(".scroll").nextElementSibling;
  const rows = [...table.tBodies[0].rows];
  const first = narrow ? 10 : 25;
  const isShort = !table.dataset.unfolded && rows.length > first;
  rows.forEach((row, place) => row.classList.toggle("beyond", isShort && place >= first));
  button.hidden = !isShort;
  button.textContent = `Show all ${rows.length}`;
  button.onclick = () => { table.dataset.unfolded = "yes"; foldRows(table); };
}
foldRows(document.getElementById("class-table"));

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
  fold(gallery, chosenClass.value === "" && name === "");
}

// Long galleries begin with their first pictures; the others are a click away.
const FIRST = narrow ? 2 : 8;
function fold(pictures, isFolded) {
  const button = pictures.parentNode.querySelector(`#${pictures.id} + .more`);
  const figures = [...pictures.children];
  const isShort = isFolded && !pictures.dataset.unfolded && figures.length > FIRST;
  figures.forEach((figure, place) => figure.classList.toggle("beyond", isShort && place >= FIRST));
  button.hidden = !isShort;
  button.textContent = `Show all ${figures.length}`;
  button.onclick = () => {
    pictures.dataset.unfolded = "yes";
    fold(pictures, true);
    figures[FIRST].querySelector(".four").focus();
  };
}

const suspects = document.getElementById("suspect-gallery");
if (suspects) fold(suspects, true);

if (gallery) {
  chosenClass.addEventListener("change", filterGallery);
  chosenName.addEventListener("input", filterGallery);
  filterGallery();
}

// A click on the pictures of a pair, or Enter, shows them large, another one small again; with the
// arrows the focus goes along the gallery.
for (const pictures of document.querySelectorAll("figure .four")) {
  const enlarge = () => pictures.parentNode.classList.toggle("large");
  pictures.addEventListener("click", enlarge);
  pictures.addEventListener("keydown", (event) => {
    const step = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
    if (event.key === "Enter" || event.key === " ") enlarge();
    else if (event.key === "Escape") pictures.parentNode.classList.remove("large");
    else if (step) pictures.parentNode[step]?.querySelector(".four").focus();
    else return;
    event.preventDefault();
  });
}

// Heatmap: rows truth, columns prediction, colour = share of the row; a tap or the mouse reads a cell.
const heatmap = JSON.parse(document.getElementById("confusion").textContent);
const canvas = document.getElementById("heatmap");
const side = heatmap.names.length;
const step = Math.max(3, Math.min(28, Math.floor(840 / side)));
const margin = step >= 12 ? 110 : 0; // names are written where they can be read
const extent = margin + side * step;
const context = canvas.getContext("2d");
const totals = heatmap.matrix.map((row) => row.reduce((sum, pixels) => sum + pixels, 0));

const dark = matchMedia("(prefers-color-scheme: dark)");

// Nothing has the colour of the page; the larger the share, the further from it.
function cellColor(row, column) {
  const share = totals[row] ? heatmap.matrix[row][column] / totals[row] : 0;
  if (!share) return getComputedStyle(document.documentElement).getPropertyValue("--tint");
  const light = dark.matches ? 22 + 40 * Math.sqrt(share) : 92 - 54 * Math.sqrt(share);
  if (row === side - 1) return `hsl(220 8% ${light}%)`; // ignored in the truth: neither right nor wrong
  return `hsl(${row === column ? 150 : 8} 65% ${light}%)`;
}

function writeNames() {
  context.fillStyle = getComputedStyle(document.body).color;
  context.font = `${Math.min(12, step - 1)}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  heatmap.names.forEach((name, place) => {
    const offset = margin + (place + 0.5) * step;
    context.textAlign = "right";
    context.fillText(name, margin - 4, offset, margin - 6);
    context.save();
    context.translate(offset, margin - 4);
    context.rotate(-Math.PI / 2);
    context.textAlign = "left";
    context.fillText(name, 0, 0, margin - 6);
    context.restore();
  });
}

function paint() {
  const sharp = Math.max(1, window.devicePixelRatio || 1);
  canvas.width = canvas.height = Math.round(extent * sharp);
  canvas.style.width = `${extent}px`;
  context.setTransform(sharp, 0, 0, sharp, 0, 0);
  if (margin) writeNames();
  for (let row = 0; row < side; row += 1) {
    for (let column = 0; column < side; column += 1) {
      context.fillStyle = cellColor(row, column);
      const gap = step >= 12 ? 1 : 0;
      context.fillRect(margin + column * step, margin + row * step, step - gap, step - gap);
    }
  }
}

function readCell(event) {
  const box = canvas.getBoundingClientRect();
  const place = (offset, length) => Math.floor(((offset / length) * extent - margin) / step);
  const column = place(event.clientX - box.left, box.width);
  const row = place(event.clientY - box.top, box.height);
  if (Math.min(row, column) < 0 || Math.max(row, column) >= side) return;
  const pixels = heatmap.matrix[row][column];
  const share = totals[row] ? ((100 * pixels) / totals[row]).toFixed(2) : "0";
  document.getElementById("cell").textContent =
    `truth ${heatmap.names[row]}, predicted ${heatmap.names[column]}: ` +
    `${pixels.toLocaleString("en")} pixels, ${share} % of the row`;
}

paint();
dark.addEventListener("change", paint);
canvas.addEventListener("mousemove", readCell);
canvas.addEventListener("click", readCell);
