// A picture under its layer, in one canvas per pane: zoom and pan at full resolution, panes together.

import { layer } from "./address.js";
import { fill, outline } from "./paint.js";

const SETTLE = 140; // ms without a movement before the visible part is fetched sharp
const MOST = 4096;

function loaded(source) {
  return new Promise((resolve, reject) => {
    const picture = new Image();
    picture.onload = () => resolve(picture);
    picture.onerror = () => reject(new Error("the picture cannot be shown"));
    picture.src = source;
  });
}

export class Stage {
  // panes: [{canvas, layer: () => name or "", table: (name) => colours}]
  constructor(root, { onchange } = {}) {
    this.root = root;
    this.panes = [];
    this.onchange = onchange ?? (() => {});
    this.style = { opacity: 0.45, mode: "both", shown: true };
    this.zoom = 1;
    this.center = [0.5, 0.5];
    this.pointers = new Map();
    this.load = 0;
    new ResizeObserver(() => this.settle(0)).observe(root);
    this.listen();
  }

  // Zoom and place are one for all panes, and stay while the same picture is shown another way.
  async show(n, version, size, panes) {
    if (n !== this.n) Object.assign(this, { zoom: 1, center: [0.5, 0.5] });
    this.n = n;
    this.version = version;
    this.whole = size;
    this.panes = panes;
    this.root.replaceChildren(...panes.map((pane) => pane.frame));
    for (const pane of panes) Object.assign(pane, { base: null, detail: null, error: "" });
    await this.fetch();
  }

  // Pixels of the device for one pixel of the picture, in the first pane.
  scale() {
    const box = this.panes[0]?.canvas.getBoundingClientRect();
    if (!box || !this.whole) return 1;
    const fit = Math.min(box.width / this.whole[0], box.height / this.whole[1]);
    return fit * this.zoom * devicePixelRatio;
  }

  visible() {
    const box = this.panes[0].canvas.getBoundingClientRect();
    const scale = this.scale();
    const [width, height] = [(box.width * devicePixelRatio) / scale, (box.height * devicePixelRatio) / scale];
    const x = this.center[0] * this.whole[0] - width / 2;
    const y = this.center[1] * this.whole[1] - height / 2;
    const left = Math.max(0, Math.floor(x));
    const top = Math.max(0, Math.floor(y));
    const right = Math.min(this.whole[0], Math.ceil(x + width));
    const bottom = Math.min(this.whole[1], Math.ceil(y + height));
    return [left, top, Math.max(1, right - left), Math.max(1, bottom - top)];
  }

  settle(wait = SETTLE) {
    this.draw();
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.fetch().catch(() => {}), wait);
  }

  async fetch() {
    if (!this.panes.length || !this.panes[0].canvas.isConnected) return;
    const mine = (this.load += 1);
    if (!this.whole) {
      const picture = await loaded(`/picture/${this.n}?side=64&v=${this.version}`);
      this.whole = [picture.naturalWidth * 64, picture.naturalHeight * 64];
    }
    const isWhole = this.zoom <= 1.001;
    const box = isWhole ? [0, 0, ...this.whole] : this.visible();
    if (isWhole || this.panes.some((pane) => !pane.base)) await this.fetchBox([0, 0, ...this.whole], this.scale() / this.zoom, true, mine);
    if (!isWhole && mine === this.load) await this.fetchBox(box, this.scale(), false, mine);
    if (mine === this.load) this.root.dataset.ready = `${this.n} ${isWhole ? "whole" : box.join(",")}`;
    this.onchange();
  }

  async fetchBox(box, scale, isWhole, mine) {
    const side = Math.max(16, Math.min(MOST, Math.ceil(Math.max(box[2], box[3]) * scale)));
    const query = `side=${side}&v=${this.version}${isWhole ? "" : `&box=${box.join(",")}`}`;
    await Promise.all(this.panes.map((pane) => this.fetchPane(pane, query, isWhole, mine)));
  }

  async fetchPane(pane, query, isWhole, mine) {
    const name = pane.layer();
    const parts = [loaded(`/picture/${this.n}?${query}`), name ? layer(`/layer/${this.n}/${name}?${query}`) : null];
    const [picture, values] = await Promise.allSettled(parts);
    if (mine !== this.load) return;
    const found = { picture: picture.value, values: values.value, name };
    pane.error = values.status === "rejected" ? values.reason.message : "";
    if (found.values && isWhole) this.whole = found.values.whole;
    found.box = found.values ? found.values.box : isWhole ? [0, 0, ...this.whole] : query.match(/box=([\d,]+)/)[1].split(",").map(Number);
    this.paintPart(pane, found);
    pane[isWhole ? "base" : "detail"] = found;
    if (isWhole) pane.detail = null;
    this.draw();
  }

  paintPart(pane, part) {
    if (!part?.values) return;
    const table = pane.table(part.name);
    part.fill = fill(part.values, table);
    part.lines = part.name === "confidence" || part.name === "difference" ? null : outline(part.values, table);
  }

  // Other colours or switches: the same values painted anew.
  repaint() {
    for (const pane of this.panes) for (const part of [pane.base, pane.detail]) this.paintPart(pane, part);
    this.draw();
  }

  draw() {
    for (const pane of this.panes) this.drawPane(pane);
  }

  drawPane(pane) {
    const { canvas } = pane;
    const box = canvas.getBoundingClientRect();
    canvas.width = Math.max(1, Math.round(box.width * devicePixelRatio));
    canvas.height = Math.max(1, Math.round(box.height * devicePixelRatio));
    const context = canvas.getContext("2d");
    if (!this.whole) return;
    const scale = this.scale();
    const origin = [canvas.width / 2 - this.center[0] * this.whole[0] * scale, canvas.height / 2 - this.center[1] * this.whole[1] * scale];
    for (const part of [pane.base, pane.detail]) {
      if (!part) continue;
      const place = [Math.round(origin[0] + part.box[0] * scale), Math.round(origin[1] + part.box[1] * scale)];
      const size = [Math.max(1, Math.round(part.box[2] * scale)), Math.max(1, Math.round(part.box[3] * scale))];
      context.imageSmoothingEnabled = scale < 3;
      context.globalAlpha = 1;
      if (part.picture) context.drawImage(part.picture, ...place, ...size);
      else { context.fillStyle = "#40444c"; context.fillRect(...place, ...size); }
      if (!this.style.shown || !part.fill) continue;
      context.imageSmoothingEnabled = false;
      if (this.style.mode !== "outline" || !part.lines) {
        context.globalAlpha = this.style.opacity;
        context.drawImage(part.fill, ...place, ...size);
      }
      context.globalAlpha = 1;
      if (part.lines && this.style.mode !== "fill") context.drawImage(part.lines, ...place, ...size);
    }
    pane.note.textContent = pane.error;
    pane.note.hidden = !pane.error;
  }

  zoomBy(factor, at = [0.5, 0.5]) {
    if (!this.whole || !this.panes.length) return;
    const box = this.panes[0].canvas.getBoundingClientRect();
    const before = this.scale() / devicePixelRatio;
    const most = Math.max(4, (16 * this.zoom) / before);
    this.zoom = Math.min(most, Math.max(1, this.zoom * factor));
    const after = this.scale() / devicePixelRatio;
    const shift = 1 / before - 1 / after;
    this.move([(at[0] - 0.5) * box.width * shift, (at[1] - 0.5) * box.height * shift]);
  }

  // By pixels of the picture.
  move([x, y]) {
    const within = (value, size) => Math.min(1, Math.max(0, value + size));
    this.center = this.zoom <= 1.001 ? [0.5, 0.5] : [within(this.center[0], x / this.whole[0]), within(this.center[1], y / this.whole[1])];
    this.settle();
    this.onchange();
  }

  // By a sixth of what is seen, in the direction [x, y].
  push([x, y]) {
    const [, , width, height] = this.visible();
    this.move([(x * width) / 6, (y * height) / 6]);
  }

  listen() {
    const at = (event) => {
      const box = event.target.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    const isOurs = (event) => event.target instanceof HTMLCanvasElement;
    this.root.addEventListener("wheel", (event) => {
      if (!isOurs(event)) return;
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / 300), at(event));
    }, { passive: false });
    this.root.addEventListener("dblclick", (event) => isOurs(event) && this.zoomBy(this.zoom > 1.001 ? 0 : 1 / this.scale() * devicePixelRatio * 2, at(event)));
    this.root.addEventListener("pointerdown", (event) => {
      if (!isOurs(event)) return;
      event.target.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    });
    this.root.addEventListener("pointermove", (event) => this.dragged(event, at));
    for (const name of ["pointerup", "pointercancel"]) this.root.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
  }

  dragged(event, at) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    const scale = this.scale() / devicePixelRatio;
    if (this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]);
      this.zoomBy(apart(now) / Math.max(1, apart(before)), at(event));
    } else this.move([(before[0] - now[0]) / scale, (before[1] - now[1]) / scale]);
    this.pointers.set(event.pointerId, now);
  }
}
