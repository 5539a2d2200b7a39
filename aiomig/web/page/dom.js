// Small helpers for the document. Text is always set as textContent, because names and output may contain HTML.

export const $ = (id) => document.getElementById(id);

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  set(element, attributes);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function button(label, onclick, attributes = {}) {
  return h("button", { type: "button", onclick, ...attributes }, label);
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
}

export function toast(text, bad = false) {
  const note = h("div", { class: bad ? "bad" : "" }, text);
  $("toasts").append(note);
  setTimeout(() => note.remove(), bad ? 9000 : 4000);
}

/** Run an action, and show its error as a toast. */
export async function orToast(action) {
  try { await action(); } catch (error) { toast(error.message, true); }
}

/** Ask for a confirmation, or with a label for a text. Resolve to true or the text, or to null if refused. */
export function ask(title, text, { label = null, value = "", yes = "OK" } = {}) {
  const dialog = $("ask");
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-text").hidden = !text;
  $("ask-label").hidden = label === null;
  $("ask-label").firstElementChild.textContent = label ?? "";
  $("ask-input").value = value;
  $("ask-yes").textContent = yes;
  return new Promise((resolve) => {
    let answer = null;
    $("ask-form").onsubmit = () => { answer = label === null ? true : $("ask-input").value.trim() || null; };
    $("ask-no").onclick = () => dialog.close();
    dialog.onclose = () => resolve(answer);
    dialog.showModal();
    (label === null ? $("ask-yes") : $("ask-input")).focus();
  });
}

export function dropTarget(element, receive) {
  const over = (on) => element.classList.toggle("over", on);
  element.addEventListener("dragover", (event) => { event.preventDefault(); over(true); });
  element.addEventListener("dragleave", () => over(false));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    receive([...event.dataTransfer.files]);
  });
}

// -- formatting

export function duration(seconds) {
  if (seconds === null || !isFinite(seconds)) return "";
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function age(seconds) {
  if (seconds === null || !isFinite(seconds)) return "";
  const s = Math.max(0, seconds);
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

export function size(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) { bytes /= 1000; unit += 1; }
  return `${unit && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

export const when = (text) => (text ? new Date(text).toLocaleString() : "");
