// Previews of files: text and pictures. The content of a file is never executed.

import { request } from "./api.js";
import { h } from "./dom.js";

const PICTURES = {
  png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp", bmp: "image/bmp",
};
const MAX_PICTURE_BYTES = 20e6;
const MAX_TEXT_BYTES = 64 * 1024;

export const isPicture = (name) => name.split(".").pop().toLowerCase() in PICTURES;

export async function preview(path, name, bytes) {
  if (isPicture(name) && bytes <= MAX_PICTURE_BYTES) {
    const data = await (await request(path)).arrayBuffer();
    const url = URL.createObjectURL(new Blob([data], { type: PICTURES[name.split(".").pop().toLowerCase()] }));
    const image = h("img", { alt: `Preview of ${name}`, src: url });
    image.addEventListener("load", () => URL.revokeObjectURL(url));
    return image;
  }
  const stop = new AbortController();
  const reader = (await request(path, { signal: stop.signal })).body.getReader();
  const chunks = [];
  let count = 0, complete = true;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    count += value.length;
    if (count >= MAX_TEXT_BYTES) { complete = count >= bytes; stop.abort(); break; }
  }
  const data = new Uint8Array(await new Blob(chunks).arrayBuffer()).slice(0, MAX_TEXT_BYTES);
  if (data.includes(0)) return h("p", { class: "footer-note" }, "Not text: download it to see it.");
  const text = new TextDecoder().decode(data);
  return h("pre", { tabindex: "0", "aria-label": `Preview of ${name}` }, text + (complete ? "" : "\n…"));
}
