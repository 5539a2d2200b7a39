// The file browser of the MiG home.

import { address, filePath, get, request, send } from "./api.js";
import { $, ask, dropTarget, h, size, toast, when } from "./dom.js";
import { preview } from "./preview.js";

let directory = ".";
const join = (name) => (directory === "." ? name : `${directory}/${name}`);
const link = (path) => `#/files/${path.split("/").map(encodeURIComponent).join("/")}`;

export function start() {
  $("upload").addEventListener("click", () => $("upload-input").click());
  $("upload-input").addEventListener("change", async () => { const files = [...$("upload-input").files]; $("upload-input").value = ""; await upload(files); });
  dropTarget($("drop"), upload);
  $("new-folder").addEventListener("click", async () => {
    const name = await ask("New folder", "", { label: "Name", yes: "Create" });
    if (name) await change(() => request("api/folders/" + join(name).split("/").map(encodeURIComponent).join("/"), { method: "PUT" }), "Created.");
  });
}

export async function show(path) {
  directory = path || ".";
  const parts = directory === "." ? [] : directory.split("/");
  $("crumbs").replaceChildren(h("a", { href: "#/files", "aria-current": parts.length ? null : "page" }, "Home"),
    ...parts.flatMap((part, at) => [h("span", { "aria-hidden": "true" }, "/"), h("a", { href: link(parts.slice(0, at + 1).join("/")), "aria-current": at === parts.length - 1 ? "page" : null }, part)]));
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

function row(file) {
  const name = file.is_dir ? h("a", { href: link(file.path) }, `${file.name}/`) : h("span", {}, file.name);
  return h("tr", { "data-name": file.name }, h("td", {}, name), h("td", { class: "number" }, file.is_dir ? "" : size(file.size)), h("td", { class: "wide" }, when(file.modified_at)),
    h("td", {}, !file.is_dir && h("button", { type: "button", class: "plain", "aria-label": `View ${file.name}`, onclick: () => look(file) }, "View"),
      !file.is_dir && h("a", { href: address(filePath(file.path)), download: "", "aria-label": `Save ${file.name}` }, "Save"),
      h("button", { type: "button", class: "plain danger", "aria-label": `Delete ${file.name}`, onclick: () => remove(file) }, "✕")));
}

async function look(file) {
  try {
    const content = await preview(filePath(file.path), file.name, file.size);
    const dialog = h("dialog", { "aria-label": file.name, class: "preview" }, h("h2", {}, file.name), content, h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Close")));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  } catch (error) { toast(error.message, true); }
}

async function remove(file) {
  if (await ask(`Delete ${file.name}?`, file.is_dir ? "The directory and everything in it will be removed for good." : "The file will be removed for good.", { yes: "Delete" }))
    await change(() => request(`${filePath(file.path)}${file.is_dir ? "?recursive=true" : ""}`, { method: "DELETE" }), "Deleted.");
}

async function upload(files) {
  const present = new Set([...$("files").tBodies[0].rows].map((row) => row.dataset.name));
  const replaced = files.filter((file) => present.has(file.name));
  if (replaced.length && !(await ask("Replace files?", replaced.map((file) => file.name).join(", "), { yes: "Replace" }))) return;
  await change(async () => { for (const file of files) await send("PUT", filePath(join(file.name)), file); }, files.length === 1 ? `Uploaded ${files[0].name}.` : `Uploaded ${files.length} files.`);
}

async function change(action, message) {
  try { await action(); toast(message); } catch (error) { toast(error.message, true); }
  await show(directory);
}
