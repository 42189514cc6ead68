// Values per pixel -> pictures: classes in their colours, borders as a light and a dark line.

const LIGHT = 0xffffffff;
const DARK = 0xff000000;
const rgba = ([red, green, blue], alpha = 255) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;

// Colour of every value. Hidden classes and background are clear; ignored pixels are grey.
export function classTable(classes, ignore, hidden = new Set()) {
  const table = new Uint32Array(65536);
  for (const one of classes) {
    if (!one.background && !hidden.has(one.index)) table[one.index] = rgba(one.color);
  }
  if (!hidden.has(ignore)) table[ignore] = rgba([200, 200, 200]);
  return table;
}

export const DIFFERENCE = (() => {
  const table = new Uint32Array(65536);
  table[1] = rgba([255, 40, 60]);
  table[2] = rgba([160, 160, 160], 150);
  return table;
})();

// Unsure is bright: dark violet over orange to yellow; sure is clear.
export const HEAT = (() => {
  const table = new Uint32Array(65536);
  for (let value = 0; value < 256; value += 1) {
    const unsure = 1 - value / 255;
    const red = Math.min(255, 60 + 300 * unsure);
    const green = Math.max(0, 330 * unsure - 90);
    const blue = Math.max(0, 150 - 190 * unsure);
    table[value] = rgba([red, Math.min(255, green), blue], Math.min(255, Math.round(30 + 450 * unsure)));
  }
  return table;
})();

function canvasOf(words, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(words.buffer), width, height), 0, 0);
  return canvas;
}

export function fill({ values, width, height }, table) {
  const words = new Uint32Array(width * height);
  for (let place = 0; place < words.length; place += 1) words[place] = table[values[place]];
  return canvasOf(words, width, height);
}

// Light on the inner side of a border, dark on the outer; inner is the larger value, clear is outer.
export function outline({ values, width, height }, table) {
  const ranks = new Int32Array(values.length);
  for (let place = 0; place < ranks.length; place += 1) ranks[place] = table[values[place]] ? values[place] + 1 : 0;
  const words = new Uint32Array(width * height);
  const meet = (one, other) => {
    if (ranks[one] === ranks[other]) return;
    const [inner, outer] = ranks[one] > ranks[other] ? [one, other] : [other, one];
    words[inner] = LIGHT;
    if (words[outer] !== LIGHT) words[outer] = DARK;
  };
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const place = y * width + x;
      if (x + 1 < width) meet(place, place + 1);
      if (y + 1 < height) meet(place, place + width);
    }
  }
  return canvasOf(words, width, height);
}

// Share of each value, largest first: [[value, share], …].
export function shares({ values }) {
  const counts = new Map();
  let start = 0;
  for (let place = 1; place <= values.length; place += 1) {
    if (place < values.length && values[place] === values[start]) continue;
    counts.set(values[start], (counts.get(values[start]) ?? 0) + place - start);
    start = place;
  }
  return [...counts].map(([value, pixels]) => [value, pixels / values.length]).sort((one, other) => other[1] - one[1]);
}
