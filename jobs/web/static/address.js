// Everything one sees is in the address: a link shows the same. And the server's answers as values.

export const FILTERS = ["class", "share", "confidence", "entropy", "miou", "status", "error", "decision", "noted", "text", "folder", "sort", "order"];

export const asked = () => new URLSearchParams(location.search);

// Changes of the address: a value of "" takes a name out. `quiet` leaves the history as it is.
export function go(changes, { quiet = false } = {}) {
  const next = asked();
  for (const [name, value] of Object.entries(changes)) {
    if (value === "" || value === null || value === undefined) next.delete(name);
    else next.set(name, value);
  }
  const text = next.toString();
  const place = text ? `?${text}` : location.pathname;
  if (quiet) history.replaceState(null, "", place);
  else history.pushState(null, "", place);
  dispatchEvent(new Event("address"));
}

export function filters(extra = {}) {
  const from = asked();
  const found = new URLSearchParams();
  for (const name of FILTERS) if (from.get(name)) found.set(name, from.get(name));
  for (const [name, value] of Object.entries(extra)) found.set(name, value);
  return found.toString();
}

export async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  const value = await answer.json();
  if (value && value.error) throw new Error(value.error);
  return value;
}

export const say = (word) =>
  ask("/api/say", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(word) });

// Values per pixel: {width, height, whole, box, values}; an error is a sentence.
export async function layer(path, options = {}) {
  const answer = await fetch(path, options);
  const facts = JSON.parse(answer.headers.get("x-facts") ?? '{"error":"no answer"}');
  if (facts.error) throw new Error(facts.error);
  const bytes = await answer.arrayBuffer();
  return { ...facts, values: facts.bytes === 2 ? new Uint16Array(bytes) : new Uint8Array(bytes) };
}

export const reviewer = () => localStorage.getItem("reviewer") ?? "";
