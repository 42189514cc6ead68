// One image: the photo under its mask, switches, its row, decisions.

import { ask, asked, filters, go, reviewer, say } from "./address.js";
import { css, fixed, hold, make, percent, toast } from "./elements.js";
import { classTable, DIFFERENCE, HEAT } from "./paint.js";
import { Stage } from "./stage.js";

const LAYERS = { mask: "mask", before: "before", truth: "truth", difference: "difference", confidence: "confidence" };
const MASKS = { audit: "prediction", finetune: "after" }; // what the mask of other commands is called
const MODES = ["both", "outline", "fill"];
const WORDS = { accepted: "Accept", rejected: "Reject", flagged: "Flag" };
const KEYS = { accepted: "A", rejected: "R", flagged: "F" };

export class Picture {
  constructor(run) {
    this.run = run;
    this.hidden = new Set();
    this.last = [];
    this.stageRoot = make("div", { class: "panes", id: "panes" });
    this.stage = new Stage(this.stageRoot);
    this.head = make("div", { class: "bar" });
    this.tools = make("div", { class: "tools", role: "toolbar", "aria-label": "How it is shown" });
    this.info = make("aside", { class: "info", "aria-label": "About this image" });
    this.root = make("div", { class: "single" }, make("section", { class: "look", "aria-label": "Image" }, this.head, this.stageRoot, this.tools), this.info);
    this.note = make("dialog", { class: "note", "aria-labelledby": "note-title" });
    this.root.append(this.note);
  }

  // What is shown and what lies beside it stand in the address, so that a link shows the same.
  get layer() {
    const wanted = asked().get("layer");
    return this.available().includes(wanted) ? wanted : "mask";
  }

  get beside() {
    const wanted = asked().get("beside");
    return this.available().includes(wanted) ? wanted : "";
  }

  async show(key) {
    if (key === this.key) {
      if (this.image && `${this.layer} ${this.beside}` !== this.shown) await this.rebuild();
      return;
    }
    this.key = key;
    const query = filters();
    if (query !== this.query || !this.order) {
      this.query = query;
      this.order = await ask(`/api/numbers?${query}`);
    }
    this.n = await ask(`/api/number?key=${encodeURIComponent(key)}`);
    if (this.n === null) {
      hold(this.info);
      hold(this.tools);
      hold(this.stageRoot, make("p", { class: "empty" }, "There is no image of that name."));
      hold(this.head, this.back());
      return;
    }
    const image = await ask(`/api/image/${this.n}`);
    if (key !== this.key) return;
    this.image = image;
    this.render();
    this.stage.n = null; // another picture begins whole
    const size = image.width ? [image.width, image.height] : null;
    await this.stage.show(this.n, image.stamp, size, this.panes()).catch((error) => toast(error.message));
    this.prefetch();
  }

  // The neighbours' pictures, so that the next one is there at once.
  prefetch() {
    const next = this.order[this.order.indexOf(this.n) + 1];
    if (next !== undefined) ask(`/api/image/${next}`).catch(() => {});
  }

  available() {
    const { truth, before } = this.run;
    return ["mask", ...(before ? ["before"] : []), ...(truth ? ["truth", "difference"] : []), ...(this.image?.soft ? ["confidence"] : [])];
  }

  called(layer) {
    return layer === "mask" ? MASKS[this.run.command] ?? LAYERS.mask : LAYERS[layer];
  }

  panes() {
    const failed = this.image.status === "failed" && !MASKS[this.run.command];
    const table = (name) => (name === "difference" ? DIFFERENCE : name === "confidence" ? HEAT : classTable(this.run.classes, this.run.ignore, this.hidden));
    const pane = (layer) => {
      const canvas = make("canvas", { role: "img", "aria-label": "the picture under its classes" });
      const note = make("p", { class: "pane-note", hidden: true });
      const title = make("figcaption", {}, "");
      return { canvas, note, frame: make("figure", { class: "pane" }, canvas, note, title), layer: () => { title.textContent = this.available().length > 1 ? this.called(layer()) : ""; return failed ? "" : layer(); }, table };
    };
    return [pane(() => this.layer), ...(this.beside ? [pane(() => this.beside)] : [])];
  }

  async rebuild() {
    this.render();
    await this.stage.show(this.n, this.image.stamp, this.stage.whole, this.panes());
  }

  put(changes) {
    go(changes, { quiet: true });
  }

  // The layer instead of the mask, or the mask again.
  turnTo(layer) {
    if (this.available().includes(layer)) this.put({ layer: this.layer === layer ? "" : layer });
  }

  turnBeside() {
    const { before, truth } = this.run;
    const other = truth ? "truth" : before ? "before" : this.available().at(-1);
    if (other !== "mask") this.put({ beside: this.beside ? "" : other });
  }

  back() {
    return make("button", { type: "button", id: "back", onclick: () => go({ image: "" }) }, "‹ Gallery");
  }

  render() {
    const { image } = this;
    this.shown = `${this.layer} ${this.beside}`;
    const place = this.order.indexOf(this.n);
    const step = (by, text, name) => make("button", { type: "button", "aria-label": name, disabled: !this.order[place + by], onclick: () => this.step(by) }, text);
    hold(this.head, this.back(), step(-1, "←", "previous image"), step(1, "→", "next image"),
      make("h1", { class: "grow", title: image.key }, image.key), make("span", { id: "place" }, place < 0 ? "not in this selection" : `${place + 1} of ${this.order.length}`));
    this.renderTools();
    this.renderInfo();
  }

  renderTools() {
    const { style } = this.stage;
    const choice = (name, title, values, now, change) => make("label", {}, title, make("select", { id: name, onchange: (event) => change(event.target.value) }, ...values.map(([value, text]) => make("option", { value, selected: value === now }, text))));
    const layers = this.available();
    hold(this.tools,
      make("button", { type: "button", id: "toggle", "aria-pressed": String(style.shown), title: "space", onclick: () => this.toggle() }, "Mask"),
      choice("mode", "as", [["both", "fill and outline"], ["outline", "outline"], ["fill", "fill"]], style.mode, (value) => { style.mode = value; this.stage.draw(); }),
      make("label", {}, "opacity", make("input", { type: "range", id: "opacity", min: 0, max: 1, step: 0.05, value: style.opacity, oninput: (event) => { style.opacity = Number(event.target.value); this.stage.draw(); } })),
      layers.length > 1 ? choice("layer", "show", layers.map((name) => [name, this.called(name)]), this.layer, (value) => this.put({ layer: value === "mask" ? "" : value })) : null,
      layers.length > 1 ? choice("beside", "beside", [["", "nothing"], ...layers.map((name) => [name, this.called(name)])], this.beside, (value) => this.put({ beside: value })) : null,
      make("span", { class: "zoom" }, make("button", { type: "button", "aria-label": "zoom out", onclick: () => this.stage.zoomBy(1 / 1.5) }, "−"), make("button", { type: "button", "aria-label": "whole picture", onclick: () => this.stage.zoomBy(0) }, "▢"), make("button", { type: "button", "aria-label": "zoom in", onclick: () => this.stage.zoomBy(1.5) }, "+")),
    );
  }

  classesHere() {
    const here = new Map(this.image.classes.map((one) => [one.index, one]));
    return this.run.classes.filter((one) => here.has(one.index)).map((one) => ({ ...one, ...here.get(one.index) })).sort((one, other) => (other.share ?? 0) - (one.share ?? 0)).sort((one, other) => one.background - other.background);
  }

  renderInfo() {
    const { image, run } = this;
    const switches = this.classesHere().map((one, place) => make("label", { class: "switch" },
      make("input", { type: "checkbox", checked: !this.hidden.has(one.index) && !one.background, disabled: one.background, "data-class": one.index, onchange: () => this.switch(one.index) }),
      make("i", { style: { background: one.background ? "transparent" : css(one.color) } }), make("span", {}, one.name),
      make("b", {}, one.share === null ? "" : percent(one.share)), make("small", {}, one.sure === null || one.sure === undefined ? "" : `${run.command === "audit" ? "IoU" : "sure"} ${fixed(one.sure)}`), make("kbd", {}, place < 9 && !one.background ? String(place + 1) : "")));
    hold(this.info,
      image.status === "failed" ? make("p", { class: "failure", role: "alert" }, make("b", {}, image.error_code), ` ${image.error_message}`) : null,
      this.decide(),
      make("h2", {}, "Classes"), make("div", { class: "switches" }, ...switches),
      make("h2", {}, "Row"), this.row(),
    );
  }

  decide() {
    if (!this.run.review) return make("p", { class: "soft" }, this.run.why_no_review);
    const { image } = this;
    const buttons = Object.entries(WORDS).map(([value, text]) => make("button", { type: "button", class: `decide ${value}`, "data-decision": value, "aria-pressed": String(image.decision === value), onclick: () => this.decided(value) }, text, make("kbd", {}, KEYS[value])));
    const notes = make("button", { type: "button", id: "note", onclick: () => this.writeNote() }, image.note ? "Change note" : "Note", make("kbd", {}, "N"));
    const history = image.history.slice(-6).reverse().map((word) => make("li", {}, `${word.at.slice(0, 16).replace("T", " ")} ${word.reviewer}: ${word.kind === "note" ? `“${word.value}”` : word.value || "taken back"}`));
    return make("div", { class: "deciding" }, make("div", { class: "buttons" }, ...buttons, notes), image.note ? make("p", { class: "noted" }, image.note) : null,
      make("label", { class: "reviewer" }, "as ", make("input", { id: "reviewer", value: reviewer() || this.run.reviewer, onchange: (event) => localStorage.setItem("reviewer", event.target.value) })),
      history.length ? make("details", { class: "history" }, make("summary", {}, `History (${image.history.length})`), make("ul", {}, ...history)) : null);
  }

  row() {
    const skip = new Set(["classes", "status", "error_message", "files", "notes", "findings", "alignment"]);
    const { row } = this.image;
    const text = (value) => (typeof value === "number" && !Number.isInteger(value) ? value.toFixed(4) : typeof value === "object" ? JSON.stringify(value) : String(value));
    const lines = Object.entries(row).filter(([name, value]) => !skip.has(name) && value !== null && value !== "" && !(Array.isArray(value) && !value.length)).map(([name, value]) => {
      const isPlace = ["uri", "mask", "image_uri", "truth_uri", "prediction_uri", "key"].includes(name);
      return make("div", {}, make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, make("span", {}, text(value)), isPlace ? make("button", { type: "button", class: "copy", "aria-label": `copy ${name}`, onclick: () => this.copy(text(value)) }, "copy") : null));
    });
    const notes = (row.notes ?? []).map((note) => make("p", { class: "soft" }, note));
    return make("div", {}, make("dl", {}, ...lines), ...notes);
  }

  async copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      toast("copied");
    } catch {
      toast(text);
    }
  }

  toggle() {
    this.stage.style.shown = !this.stage.style.shown;
    this.tools.querySelector("#toggle").setAttribute("aria-pressed", String(this.stage.style.shown));
    this.stage.draw();
  }

  switch(index) {
    if (this.hidden.has(index)) this.hidden.delete(index);
    else this.hidden.add(index);
    const box = this.info.querySelector(`input[data-class="${index}"]`);
    if (box) box.checked = !this.hidden.has(index);
    this.stage.repaint();
  }

  step(by) {
    const place = this.order.indexOf(this.n);
    const n = this.order[place + by];
    if (n === undefined) return toast(by > 0 ? "That was the last one." : "That is the first one.");
    return ask(`/api/image/${n}`).then((image) => go({ image: image.key }, { quiet: true }));
  }

  // The same decision again takes it back. After a new one the next image comes.
  async decided(value) {
    const again = this.image.decision === value;
    const n = this.n;
    try {
      await say({ n, kind: "decision", value: again ? "" : value, reviewer: reviewer() });
    } catch (error) {
      return toast(error.message);
    }
    dispatchEvent(new Event("said"));
    toast(`${again ? "taken back" : value}: ${this.image.key}`);
    this.last.push(this.image.key);
    if (!again && this.order.indexOf(n) + 1 < this.order.length && n === this.n) return this.step(1);
    return this.reload();
  }

  undo() {
    const key = this.last.pop();
    if (!key) return toast("Nothing to go back to.");
    return go({ image: key }, { quiet: true });
  }

  async reload() {
    this.image = await ask(`/api/image/${this.n}`);
    this.renderInfo();
  }

  writeNote() {
    const text = make("textarea", { rows: 4, maxLength: 4000, "aria-labelledby": "note-title", value: this.image.note ?? "" });
    const save = async (event) => {
      event.preventDefault();
      await say({ n: this.n, kind: "note", value: text.value.trim(), reviewer: reviewer() }).catch((error) => toast(error.message));
      this.note.close();
      this.reload();
    };
    text.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save(event); });
    hold(this.note, make("h2", { id: "note-title" }, "Note"), text, make("div", { class: "buttons" }, make("button", { type: "button", id: "note-save", onclick: save }, "Save"), make("button", { type: "button", onclick: () => this.note.close() }, "Cancel")));
    this.note.showModal();
    text.focus();
  }

  key_(event) {
    if (event.shiftKey && event.key.startsWith("Arrow")) {
      event.preventDefault();
      this.stage.push({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key]);
      return undefined;
    }
    const act = {
      ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1), " ": () => this.toggle(), Escape: () => go({ image: "" }),
      a: () => this.decided("accepted"), r: () => this.decided("rejected"), f: () => this.decided("flagged"), n: () => this.writeNote(), u: () => this.undo(),
      "+": () => this.stage.zoomBy(1.5), "=": () => this.stage.zoomBy(1.5), "-": () => this.stage.zoomBy(1 / 1.5), 0: () => this.stage.zoomBy(0),
      o: () => { this.stage.style.mode = MODES[(MODES.indexOf(this.stage.style.mode) + 1) % 3]; this.renderTools(); this.stage.draw(); },
      s: () => this.turnBeside(), d: () => this.turnTo("difference"), h: () => this.turnTo("confidence"), b: () => this.turnTo("before"),
    };
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (["a", "r", "f", "n"].includes(name) && !this.run.review) return toast(this.run.why_no_review);
    if (/^[1-9]$/.test(name)) {
      const one = this.classesHere().filter((known) => !known.background)[Number(name) - 1];
      if (one) this.switch(one.index);
    } else if (act[name]) {
      event.preventDefault();
      act[name]();
    }
    return undefined;
  }

  get open() {
    return Boolean(asked().get("image"));
  }
}
