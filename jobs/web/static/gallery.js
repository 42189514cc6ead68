// The gallery: filters, counts that can be clicked, thumbnails, pages.

import { ask, asked, FILTERS, filters, go, say, reviewer } from "./address.js";
import { count, css, fixed, hold, make, percent, toast } from "./elements.js";

const LIMIT = 60;
const ORDERS = {
  review: "review order", key: "name", confidence: "confidence", entropy: "entropy", margin: "margin",
  unsure: "share of unsure points", ignored: "share ignored", miou: "mIoU", accuracy: "pixel accuracy",
  size: "pixels", decided: "time of decision",
};
const DECISIONS = { accepted: "accepted", rejected: "rejected", flagged: "flagged", none: "undecided" };
export const MARKS = { accepted: "✓", rejected: "✕", flagged: "⚑" };

export class Gallery {
  constructor(run) {
    this.run = run;
    this.names = new Map(run.classes.map((one) => [one.index, one]));
    this.grid = make("div", { class: "grid", id: "grid", role: "list", "aria-label": "Images" });
    this.side = make("div", { class: "side-inner" });
    this.folded = make("details", { class: "side" }, make("summary", {}, "Filters and classes"), this.side);
    this.folded.open = matchMedia("(min-width: 56rem)").matches;
    this.bar = make("div", { class: "bar" });
    this.foot = make("nav", { class: "pages", "aria-label": "Pages" });
    this.root = make("div", { class: "gallery" }, this.folded,
      make("section", { class: "shown", "aria-label": "Gallery" }, this.bar, this.grid, this.foot));
    this.grid.addEventListener("keydown", (event) => this.key(event));
    this.seen = "";
  }

  async show({ force = false } = {}) {
    const query = filters();
    const page = Number(asked().get("page") ?? 1);
    const wanted = `${query} ${page}`;
    if (wanted === this.seen && !force) return;
    this.seen = wanted;
    const found = await ask(`/api/page?${filters({ offset: (page - 1) * LIMIT, limit: LIMIT })}`);
    if (wanted !== this.seen) return;
    this.rows = found.rows;
    this.total = found.total;
    const focused = document.activeElement?.dataset?.n;
    hold(this.grid, ...found.rows.map((row) => this.card(row)));
    if (focused) this.grid.querySelector(`[data-n="${focused}"]`)?.focus();
    if (!found.rows.length) this.grid.append(make("p", { class: "empty" }, "No image is like that. ", make("button", { type: "button", onclick: () => this.clear() }, "Show all")));
    this.pages(page);
    const counts = await ask(`/api/counts?${query}`);
    if (wanted === this.seen) this.controls(counts);
  }

  card(row) {
    const names = row.classes.filter((one) => this.names.has(one.index) && !this.names.get(one.index).background);
    const chips = names.slice(0, 4).map((one) => {
      const known = this.names.get(one.index);
      return make("span", { class: "chip" }, make("i", { style: { background: css(known.color) } }), known.name, one.share === null ? "" : ` ${percent(one.share)}`);
    });
    const facts = [row.miou !== null ? `mIoU ${fixed(row.miou)}` : "", row.entropy !== null ? `entropy ${fixed(row.entropy)}` : ""].filter(Boolean);
    const failed = row.status === "failed";
    const picture = make("img", {
      src: `/thumb/${row.n}?side=320&v=${row.stamp}${failed ? "&plain=1" : ""}`, alt: "", loading: "lazy", decoding: "async", width: 320, height: 240,
    });
    return make("div", { role: "listitem" }, make("a", {
      class: `card${failed ? " failed" : ""}${row.decision ? ` ${row.decision}` : ""}`,
      href: `?${this.link(row.key)}`, "data-n": row.n, "data-key": row.key,
      onclick: (event) => { if (event.ctrlKey || event.metaKey || event.button) return; event.preventDefault(); go({ image: row.key }); },
    },
    make("span", { class: "photo" }, picture, row.decision ? make("b", { class: "mark", title: row.decision }, MARKS[row.decision]) : null),
    make("span", { class: "name", title: row.key }, row.key),
    make("span", { class: "facts" }, failed ? make("span", { class: "reason" }, `${row.error_code}: ${row.error_message}`) : null, ...chips, make("span", { class: "numbers" }, facts.join(" · ")))));
  }

  link(key) {
    const next = asked();
    next.set("image", key);
    return next.toString();
  }

  pages(page) {
    const last = Math.max(1, Math.ceil(this.total / LIMIT));
    const to = (number, text, name) => make("button", { type: "button", disabled: number < 1 || number > last || number === page, "aria-label": name, onclick: () => { go({ page: number > 1 ? number : "" }); scrollTo({ top: 0 }); } }, text);
    hold(this.foot, to(1, "«", "first page"), to(page - 1, "‹", "previous page"), make("span", {}, `page ${count(page)} of ${count(last)}`), to(page + 1, "›", "next page"), to(last, "»", "last page"));
  }

  controls(counts) {
    const query = asked();
    const set = (name, value) => go({ [name]: value, page: "" });
    const choose = (name, title, options) => make("label", {}, title, make("select", { id: `f-${name}`, onchange: (event) => set(name, event.target.value) },
      ...options.map(([value, text]) => make("option", { value, selected: (query.get(name) ?? "") === value }, text))));
    const ranged = (name, title) => {
      const [low = "", high = ""] = (query.get(name) ?? "").split("..");
      const one = (place, value) => make("input", { type: "number", min: 0, max: 1, step: 0.01, value, "aria-label": `${title} ${place}`, onchange: (event) => {
        const bounds = place === "from" ? [event.target.value, high] : [low, event.target.value];
        set(name, bounds.some(Boolean) ? bounds.join("..") : "");
      } });
      return make("fieldset", { id: `f-${name}` }, make("legend", {}, title), one("from", low), make("span", {}, "to"), one("to", high));
    };
    hold(this.bar,
      make("strong", { id: "total" }, `${count(this.total)} ${this.total === 1 ? "image" : "images"}`),
      make("label", { class: "grow" }, make("span", { class: "unseen" }, "Part of a name"), make("input", { type: "search", id: "f-text", placeholder: "part of a name  ( / )", value: query.get("text") ?? "", onchange: (event) => set("text", event.target.value) })),
      make("label", {}, make("span", { class: "unseen" }, "Sort by"), make("select", { id: "f-sort", onchange: (event) => go({ sort: event.target.value === "review" ? "" : event.target.value, order: "", page: "" }) },
        ...Object.entries(ORDERS).filter(([name]) => this.sortable(name)).map(([value, text]) => make("option", { value, selected: (query.get("sort") || "review") === value }, text)))),
      make("button", { type: "button", id: "f-order", title: "turn the order round", "aria-label": "turn the order round", onclick: () => this.turn() }, "⇅"),
      FILTERS.some((name) => query.get(name) && name !== "sort" && name !== "order") ? make("button", { type: "button", id: "f-clear", onclick: () => this.clear() }, "Clear filters") : null,
    );
    const shown = Object.entries(counts.classes).map(([index, images]) => [Number(index), images]).filter(([index]) => this.names.has(index)).sort((one, other) => other[1] - one[1]);
    const most = Math.max(1, ...shown.map(([, images]) => images));
    const bars = shown.map(([index, images]) => {
      const known = this.names.get(index);
      const pressed = query.get("class") === String(index);
      return make("button", { type: "button", class: "class-bar", "aria-pressed": String(pressed), "data-class": index, style: { "--share": `${(100 * images) / most}%` }, onclick: () => go({ class: pressed ? "" : index, share: "", page: "" }) },
        make("i", { style: { background: known.background ? "transparent" : css(known.color) } }), make("span", {}, known.name), make("b", {}, count(images)));
    });
    const of = (found) => Object.entries(found).map(([value, images]) => [value, `${value || "(none)"} (${count(images)})`]);
    hold(this.side,
      make("h2", {}, "Classes"), make("div", { class: "bars", id: "class-bars" }, ...bars),
      query.get("class") ? ranged("share", "share of the class") : "",
      make("h2", {}, "Filters"),
      choose("decision", "decision", [["", "any"], ...Object.entries(DECISIONS).map(([value, text]) => [value, `${text} (${count(counts.decisions[value] ?? 0)})`])]),
      choose("status", "status", [["", "any"], ...of(counts.status)]),
      Object.keys(counts.errors).length ? choose("error", "error", [["", "any"], ...of(counts.errors)]) : "",
      Object.keys(counts.folders).length > 1 ? choose("folder", "folder", [["", "all"], ...of(counts.folders).filter(([value]) => value)]) : "",
      this.run.has.confidence ? ranged("confidence", "confidence") : "",
      counts.confidence.length ? this.histogram(counts.confidence) : "",
      this.run.has.entropy ? ranged("entropy", "entropy") : "",
      this.run.has.miou ? ranged("miou", "mIoU") : "",
      make("label", { class: "check" }, make("input", { type: "checkbox", id: "f-noted", checked: query.get("noted") === "1", onchange: (event) => set("noted", event.target.checked ? "1" : "") }), "with a note"),
    );
  }

  histogram(bins) {
    const most = Math.max(1, ...bins);
    return make("div", { class: "histogram", role: "group", "aria-label": "images by confidence" }, ...bins.map((images, place) => make("button", {
      type: "button", title: `${place / 20} to ${(place + 1) / 20}: ${count(images)}`, "aria-label": `confidence ${place / 20} to ${(place + 1) / 20}: ${images} images`,
      style: { "--height": `${(100 * images) / most}%` }, onclick: () => go({ confidence: `${place / 20}..${(place + 1) / 20}`, page: "" }),
    })));
  }

  sortable(name) {
    if (["confidence", "entropy", "margin", "unsure"].includes(name)) return this.run.has.entropy;
    if (["miou", "accuracy"].includes(name)) return this.run.has.miou;
    return true;
  }

  turn() {
    const query = asked();
    const falls = ["review", "entropy", "unsure", "ignored", "size", "decided"].includes(query.get("sort") || "review");
    const order = query.get("order") || (falls ? "desc" : "asc");
    go({ order: order === "desc" ? "asc" : "desc", page: "" });
  }

  clear() {
    const sort = asked().get("sort") ?? "";
    const changes = Object.fromEntries([...asked().keys()].map((name) => [name, ""]));
    go({ ...changes, sort });
  }

  cards() {
    return [...this.grid.querySelectorAll(".card")];
  }

  async key(event) {
    const cards = this.cards();
    const place = cards.indexOf(document.activeElement);
    if (place < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const top = cards[0].getBoundingClientRect().top;
    const columns = Math.max(1, cards.filter((card) => card.getBoundingClientRect().top === top).length);
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -place, End: cards.length };
    const decisions = { a: "accepted", r: "rejected", f: "flagged" };
    if (event.key in steps) {
      event.preventDefault();
      cards[Math.min(cards.length - 1, Math.max(0, place + steps[event.key]))].focus();
    } else if (decisions[event.key.toLowerCase()] && this.run.review) {
      event.preventDefault();
      const value = decisions[event.key.toLowerCase()];
      const next = cards[place + 1] ?? cards[place];
      await say({ n: Number(cards[place].dataset.n), kind: "decision", value, reviewer: reviewer() });
      toast(`${value}: ${cards[place].dataset.key}`);
      next.focus();
      dispatchEvent(new Event("said"));
      this.show({ force: true });
    }
  }
}
