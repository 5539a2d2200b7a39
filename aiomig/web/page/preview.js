// Previews of files: text and pictures. Nothing that a file holds is ever run.

import { request } from "./api.js";
import { h } from "./dom.js";

const PICTURES = { png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp", bmp: "image/bmp" };
const MOST_PICTURE = 20e6;
const MOST_TEXT = 64 * 1024;

export const isPicture = (name) => name.split(".").pop().toLowerCase() in PICTURES;

export async function preview(path, name, bytes) {
  if (isPicture(name) && bytes <= MOST_PICTURE) {
    const data = await (await request(path)).arrayBuffer();
    const url = URL.createObjectURL(new Blob([data], { type: PICTURES[name.split(".").pop().toLowerCase()] }));
    const image = h("img", { alt: `Preview of ${name}`, src: url });
    image.addEventListener("load", () => URL.revokeObjectURL(url));
    return image;
  }
  const stop = new AbortController();
  const reader = (await request(path, { signal: stop.signal })).body.getReader();
  const pieces = [];
  let count = 0, whole = true;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    count += value.length;
    if (count >= MOST_TEXT) { whole = count >= bytes; stop.abort(); break; }
  }
  const data = new Uint8Array(await new Blob(pieces).arrayBuffer()).slice(0, MOST_TEXT);
  if (data.includes(0)) return h("p", { class: "footer-note" }, "Not text: download it to see it.");
  const text = new TextDecoder().decode(data);
  return h("pre", { tabindex: "0", "aria-label": `Preview of ${name}` }, text + (whole ? "" : "\n…"));
}
