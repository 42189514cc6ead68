// Try a model: drop or paste a picture, or look through the webcam, and see its classes live.

import { ask, layer } from "./address.js";
import { css, hold, make, percent, toast } from "./elements.js";
import { classTable, fill, outline, shares } from "./paint.js";

const LONGEST = 960; // pixels of a webcam's frame; more takes longer and shows no more

export class Trial {
  constructor() {
    this.canvas = make("canvas", { id: "tried", role: "img", "aria-label": "the picture under its classes", width: 640, height: 360 });
    this.legend = make("ul", { class: "legend", id: "legend" });
    this.numbers = make("p", { class: "numbers", id: "trial-numbers" }, "\u00a0");
    this.video = make("video", { muted: true, playsInline: true, hidden: true });
    this.file = make("input", { type: "file", accept: "image/*", id: "trial-file", onchange: () => this.file.files[0] && this.picture(this.file.files[0]) });
    this.model = make("select", { id: "trial-model", onchange: () => this.again() });
    this.threshold = make("input", { type: "range", id: "trial-threshold", min: 0, max: 0.95, step: 0.05, value: 0, oninput: () => { this.level.textContent = Number(this.threshold.value).toFixed(2); }, onchange: () => this.again() });
    this.level = make("output", {}, "0.00");
    this.opacity = make("input", { type: "range", id: "trial-opacity", min: 0, max: 1, step: 0.05, value: 0.5, oninput: () => this.draw() });
    this.camera = make("button", { type: "button", id: "camera", "aria-pressed": "false", onclick: () => (this.stream ? this.stop() : this.start()) }, "Webcam");
    const drop = make("label", { class: "drop", for: "trial-file" }, "Drop a picture here, paste one, or choose a file");
    this.root = make("div", { class: "trial" },
      make("section", { class: "look", "aria-label": "Try a model" }, make("h1", { class: "unseen" }, "Try a model"), make("div", { class: "tools" }, make("label", {}, "model", this.model), make("label", {}, "least confidence", this.threshold, this.level), make("label", {}, "opacity", this.opacity), this.camera),
        make("div", { class: "dropping" }, drop, this.file), make("div", { class: "tried" }, this.canvas, this.video), this.numbers),
      make("aside", { class: "info", "aria-label": "Classes" }, make("h2", {}, "Classes"), this.legend));
    for (const name of ["dragover", "drop"]) this.root.addEventListener(name, (event) => {
      event.preventDefault();
      if (name === "drop" && event.dataTransfer.files[0]) this.picture(event.dataTransfer.files[0]);
    });
    addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
      if (file && this.root.isConnected) this.picture(file);
    });
  }

  async show() {
    if (this.model.options.length) return;
    const models = await ask("/api/models");
    hold(this.model, ...models.map((one) => make("option", { value: one.name, selected: one.chosen }, one.name)));
  }

  async label(data) {
    const query = new URLSearchParams({ model: this.model.value, threshold: this.threshold.value });
    return layer(`/api/try?${query}`, { method: "POST", headers: { "content-type": "application/octet-stream" }, body: data });
  }

  async picture(file) {
    this.stop();
    this.kept = file;
    this.numbers.textContent = "labelling…";
    try {
      const [found, shown] = await Promise.all([this.label(file), createImageBitmap(file).catch(() => null)]);
      this.found = found;
      this.shown = shown;
      this.paint();
      this.numbers.textContent = `${found.width} × ${found.height} · ${found.ms.toFixed(0)} ms, of them ${found.forward_ms.toFixed(0)} ms network · mean confidence ${found.confidence.toFixed(2)} · ${found.model}, ${found.precision}`;
    } catch (error) {
      this.numbers.textContent = error.message;
    }
  }

  again() {
    if (!this.stream && this.kept) this.picture(this.kept);
  }

  async start() {
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } }, audio: false });
    } catch (error) {
      return toast(`The webcam cannot be opened: ${error.message}`);
    }
    this.camera.setAttribute("aria-pressed", "true");
    this.video.srcObject = this.stream;
    await this.video.play();
    this.frames = 0;
    this.ends = [];
    // Each has a frame under way: while some are labelled the next is encoded. The server labels as
    // many at once as it has cores.
    const lanes = Math.min(6, Math.max(2, navigator.hardwareConcurrency || 2));
    return Promise.all(Array.from({ length: lanes }, () => this.lane())).catch((error) => { this.stop(); this.numbers.textContent = error.message; });
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.camera.setAttribute("aria-pressed", "false");
  }

  async lane() {
    const canvas = document.createElement("canvas");
    while (this.stream && this.root.isConnected) {
      const { videoWidth, videoHeight } = this.video;
      const scale = Math.min(1, LONGEST / Math.max(videoWidth, videoHeight));
      canvas.width = Math.round(videoWidth * scale);
      canvas.height = Math.round(videoHeight * scale);
      canvas.getContext("2d").drawImage(this.video, 0, 0, canvas.width, canvas.height);
      const number = (this.taken = (this.taken ?? 0) + 1);
      const data = await new Promise((done) => { canvas.toBlob(done, "image/jpeg", 0.92); });
      const shown = await createImageBitmap(canvas);
      const found = await this.label(data);
      if (!this.stream || number < (this.newest ?? 0)) continue;
      this.newest = number;
      this.frame = data;
      this.found = found;
      this.shown = shown;
      this.paint();
      this.rate(found);
    }
    if (!this.root.isConnected) this.stop();
  }

  rate(found) {
    const now = performance.now();
    this.frames += 1;
    this.ends = [...this.ends.filter((one) => now - one < 2000), now];
    const seconds = (now - this.ends[0]) / 1000;
    const rate = this.ends.length > 1 ? (this.ends.length - 1) / seconds : 0;
    this.numbers.dataset.frames = this.frames;
    this.numbers.textContent = `${rate.toFixed(1)} frames/s · ${found.ms.toFixed(0)} ms, of them ${found.forward_ms.toFixed(0)} ms network · ${found.width} × ${found.height} · ${found.model}, ${found.precision}`;
  }

  paint() {
    const table = classTable(this.found.classes, this.found.ignore);
    this.filled = fill(this.found, table);
    this.lines = outline(this.found, table);
    this.draw();
    const names = new Map(this.found.classes.map((one) => [one.index, one]));
    hold(this.legend, ...shares(this.found).map(([value, share]) => {
      const one = names.get(value) ?? { name: "ignored (below the least confidence)", color: [200, 200, 200] };
      return make("li", {}, make("i", { style: { background: one.background ? "transparent" : css(one.color) } }), make("span", {}, one.name), make("b", {}, percent(share)));
    }));
  }

  draw() {
    if (!this.found) return;
    const { canvas } = this;
    canvas.width = this.found.width;
    canvas.height = this.found.height;
    const context = canvas.getContext("2d");
    if (this.shown) context.drawImage(this.shown, 0, 0, canvas.width, canvas.height);
    context.globalAlpha = Number(this.opacity.value);
    context.drawImage(this.filled, 0, 0);
    context.globalAlpha = 1;
    context.drawImage(this.lines, 0, 0);
  }
}
