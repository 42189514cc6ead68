const buttons = [...document.querySelectorAll(".enlarge")];
const dialog = document.getElementById("large");
let at = -1;
function show(place) {
  if (place < 0 || place >= buttons.length) return;
  at = place;
  const small = buttons[at].querySelector("img");
  dialog.querySelector("img").src = small.src;
  dialog.querySelector("img").alt = small.alt;
  dialog.querySelector("p").textContent = `${small.alt}  (${at + 1} of ${buttons.length}; arrows, Esc)`;
  if (!dialog.open) dialog.showModal();
}
buttons.forEach((button, place) => button.addEventListener("click", () => show(place)));
dialog.addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => buttons[at] && buttons[at].focus());
dialog.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) { event.preventDefault(); show(at + step); }
});
