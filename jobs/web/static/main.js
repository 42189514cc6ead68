// The page: which part is shown, the bar above it, keys, and what changes while one looks.

import { ask, asked, go } from "./address.js";
import { count, hold, make, toast } from "./elements.js";
import { Gallery } from "./gallery.js";
import { Picture } from "./picture.js";
import { Trial } from "./trial.js";

const WATCH = 3000; // ms between looks at a run that is under way
const HELP = [
  ["← →", "previous, next image; in the gallery to move"], ["Enter", "open the image"], ["Esc", "back to the gallery"],
  ["space", "mask on and off"], ["1 – 9", "one class on and off"], ["O", "fill, outline, both"], ["+ − 0", "zoom in, out, whole"], ["shift ← → ↑ ↓", "move in the zoomed picture"],
  ["S", "side by side with the truth, zoomed and moved together"], ["D", "what differs from the truth"], ["B", "what a fine-tuned network said before"], ["H", "confidence as a heat map, where written"],
  ["A", "accept"], ["R", "reject"], ["F", "flag"], ["N", "note"], ["U", "back to the image decided last"], ["/", "search names"], ["?", "this help"],
];

const main = document.getElementById("main");
const top = document.getElementById("top");
const help = document.getElementById("help");
const state = { run: null };

function heading() {
  const { run } = state;
  const part = asked().get("tab") === "try" || !run ? "try" : "gallery";
  const tab = (name, text) => make("a", { href: name === "try" ? "?tab=try" : "/", "aria-current": part === name ? "page" : null, onclick: (event) => { event.preventDefault(); go(name === "try" ? { tab: "try", image: "" } : { tab: "" }); } }, text);
  hold(top,
    make("span", { class: "brand" }, "maskmill"),
    run ? make("span", { class: "source", title: run.source }, run.source.split("/").filter(Boolean).at(-1) ?? run.source) : null,
    run ? make("span", { class: "soft", id: "state" }, run.state === "finished" ? run.command : `${run.command}, ${count(run.images)} of ${run.inputs === null ? "?" : count(run.inputs)}`) : null,
    make("nav", { "aria-label": "Parts" }, run ? tab("gallery", "Gallery") : null, tab("try", "Try")),
    make("span", { class: "grow" }),
    run?.review ? make("span", { id: "progress", class: "soft" }) : null,
    make("button", { type: "button", id: "help-button", "aria-label": "help", onclick: showHelp }, "?"),
  );
  if (run?.review) progress();
}

async function progress() {
  const now = await ask("/api/progress");
  const place = document.getElementById("progress");
  if (!place) return;
  const share = now.total ? (100 * now.reviewed) / now.total : 0;
  hold(place, make("span", { class: "meter", style: { "--share": `${share}%` }, title: `${now.accepted} accepted, ${now.rejected} rejected, ${now.flagged} flagged` }),
    `${count(now.reviewed)} reviewed, ${count(now.left)} left${now.per_minute ? `, ${now.per_minute} a minute` : ""}`);
}

function showHelp() {
  hold(help, make("h2", { id: "help-title" }, "Keys"), make("dl", {}, ...HELP.map(([keys, text]) => make("div", {}, make("dt", {}, make("kbd", {}, keys)), make("dd", {}, text)))), make("button", { type: "button", onclick: () => help.close() }, "Close"));
  help.showModal();
}

function put(part) {
  if (main.firstElementChild !== part.root) main.replaceChildren(part.root);
}

async function show() {
  const { run } = state;
  heading();
  try {
    if (!run || asked().get("tab") === "try") {
      put((state.trial ??= new Trial()));
      document.title = "Try · maskmill";
      await state.trial.show();
    } else if (asked().get("image")) {
      state.picture ??= new Picture(run);
      put(state.picture);
      document.title = `${asked().get("image")} · maskmill`;
      await state.picture.show(asked().get("image"));
    } else {
      const first = !state.gallery;
      state.gallery ??= new Gallery(run);
      const back = state.picture?.key;
      if (state.picture) Object.assign(state.picture, { key: null, order: null });
      put(state.gallery);
      document.title = `${run.source.split("/").filter(Boolean).at(-1)} · maskmill`;
      await state.gallery.show({ force: !first && Boolean(back) });
      if (back) state.gallery.cards().find((card) => card.dataset.key === back)?.focus();
    }
  } catch (error) {
    toast(error.message);
  }
}

async function watch() {
  if (!state.run || state.run.state === "finished") return;
  try {
    const before = state.run.images;
    const now = await ask("/api/run");
    Object.assign(state.run, now);
    heading();
    if (!asked().get("image") && !asked().get("tab") && (now.images !== before || now.state === "finished" || now.command === "dataset")) state.gallery?.show({ force: true });
  } catch {
    // the server is gone or busy: the next look tells
  }
  setTimeout(watch, WATCH);
}

document.addEventListener("keydown", (event) => {
  const { target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (target.matches("input:not([type=checkbox]), textarea, select")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (event.key === "?") { event.preventDefault(); showHelp(); return; }
  if (event.key === "/" && !asked().get("image")) { event.preventDefault(); document.getElementById("f-text")?.focus(); return; }
  if (event.key === " " && target.matches("button, summary, a, input")) return;
  if (asked().get("image") && state.picture && main.contains(state.picture.root)) { state.picture.key_(event); return; }
  if (state.gallery && main.contains(state.gallery.root) && ["ArrowDown", "ArrowRight"].includes(event.key) && (target === document.body || target === main)) {
    event.preventDefault();
    state.gallery.cards()[0]?.focus();
  }
});

addEventListener("popstate", () => show());
addEventListener("address", () => show());
addEventListener("said", () => progress());

state.run = await ask("/api/run");
await show();
setTimeout(watch, WATCH);
