// Elements by name, their properties and what they hold. Text is always text, never markup.

export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "style") for (const [rule, set] of Object.entries(value)) element.style.setProperty(rule, set);
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && !key.includes("-") && key !== "list" && key !== "form") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter(there));
  return element;
}

const there = (one) => one !== null && one !== undefined && one !== false;

// What an element holds from now on; what is not there is left out.
export function hold(element, ...children) {
  element.replaceChildren(...children.flat().filter(there));
}

let fading = 0;
export function toast(text) {
  const place = document.getElementById("toast");
  place.textContent = text;
  place.classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => place.classList.remove("shown"), 3200);
}

export const count = (number) => number.toLocaleString("en-US");
export const percent = (share) =>
  share === null || share === undefined ? "–" : share > 0 && share < 0.005 ? "< 1 %" : `${Math.round(share * 100)} %`;
export const fixed = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;
