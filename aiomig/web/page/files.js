// The file browser of the MiG home.

import { address, encodePath, filePath, get, request, send } from "./api.js";
import { $, ask, button, dropTarget, h, orToast, size, toast, when } from "./dom.js";
import { preview } from "./preview.js";

let directory = ".";
const join = (name) => (directory === "." ? name : `${directory}/${name}`);
const link = (path) => `#/files/${encodePath(path)}`;

export function start() {
  $("upload").addEventListener("click", () => $("upload-input").click());
  $("upload-input").addEventListener("change", async () => {
    const files = [...$("upload-input").files];
    $("upload-input").value = "";
    await upload(files);
  });
  dropTarget($("drop"), upload);
  $("new-folder").addEventListener("click", async () => {
    const name = await ask("New folder", "", { label: "Name", yes: "Create" });
    if (name) await change(() => request(`api/folders/${encodePath(join(name))}`, { method: "PUT" }), "Created.");
  });
}

export async function show(path) {
  directory = path || ".";
  showCrumbs();
  const requested = directory;
  try {
    const { files } = await get(`api/files?path=${encodeURIComponent(requested)}`);
    if (requested !== directory) return;  // the user has moved on
    $("files").tBodies[0].replaceChildren(...files.map(row));
    $("files-empty").hidden = files.length > 0;
  } catch (error) {
    $("files").tBodies[0].replaceChildren();
    toast(error.message, true);
  }
}

function showCrumbs() {
  const parts = directory === "." ? [] : directory.split("/");
  const crumbs = [h("a", { href: "#/files" }, "Home")];
  parts.forEach((part, index) => {
    const path = parts.slice(0, index + 1).join("/");
    crumbs.push(h("span", { "aria-hidden": "true" }, "/"), h("a", { href: link(path) }, part));
  });
  crumbs.at(-1).setAttribute("aria-current", "page");
  $("crumbs").replaceChildren(...crumbs);
}

function row(file) {
  const { name, path } = file;
  const download = { href: address(filePath(path)), download: "", "aria-label": `Save ${name}` };
  return h("tr", { "data-name": name },
    h("td", {}, file.is_dir ? h("a", { href: link(path) }, `${name}/`) : h("span", {}, name)),
    h("td", { class: "number" }, file.is_dir ? "" : size(file.size)),
    h("td", { class: "wide" }, when(file.modified_at)),
    h("td", {},
      !file.is_dir && button("View", () => view(file), { class: "plain", "aria-label": `View ${name}` }),
      !file.is_dir && h("a", download, "Save"),
      button("✕", () => remove(file), { class: "plain danger", "aria-label": `Delete ${name}` })));
}

const view = (file) => orToast(async () => {
  const content = await preview(filePath(file.path), file.name, file.size);
  const dialog = h("dialog", { "aria-label": file.name, class: "preview" },
    h("h2", {}, file.name),
    content,
    h("div", { class: "buttons" }, button("Close", () => dialog.close())));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
});

async function remove(file) {
  const what = file.is_dir ? "The directory and everything in it" : "The file";
  if (!(await ask(`Delete ${file.name}?`, `${what} will be removed for good.`, { yes: "Delete" }))) return;
  const path = filePath(file.path) + (file.is_dir ? "?recursive=true" : "");
  await change(() => request(path, { method: "DELETE" }), "Deleted.");
}

async function upload(files) {
  const present = new Set([...$("files").tBodies[0].rows].map((row) => row.dataset.name));
  const replaced = files.map((file) => file.name).filter((name) => present.has(name));
  if (replaced.length && !(await ask("Replace files?", replaced.join(", "), { yes: "Replace" }))) return;
  const message = files.length === 1 ? `Uploaded ${files[0].name}.` : `Uploaded ${files.length} files.`;
  await change(async () => {
    for (const file of files) await send("PUT", filePath(join(file.name)), file);
  }, message);
}

async function change(action, message) {
  await orToast(async () => { await action(); toast(message); });
  await show(directory);
}
