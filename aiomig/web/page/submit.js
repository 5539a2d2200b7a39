// The form that submits a job.

import { send } from "./api.js";
import { $, button, dropTarget, h, size, toast } from "./dom.js";

let inputs = [];  // each a File to upload, or {name, home} for a file in the MiG home
let onSubmitted = () => {};
const lines = (id) => $(id).value.split("\n").map((line) => line.trim()).filter(Boolean);

export function start(callback) {
  onSubmitted = callback;
  $("submit-close").addEventListener("click", () => $("submit").close());
  $("submit-files").addEventListener("change", () => {
    add([...$("submit-files").files]);
    $("submit-files").value = "";
  });
  dropTarget($("submit-drop"), add);
  $("submit-form").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
}

function add(files) {
  const names = new Set(files.map((file) => file.name));
  inputs = [...inputs.filter((input) => !names.has(input.name)), ...files];
  list();
}

function list() {
  $("submit-inputs").replaceChildren(...inputs.map((input) => h("li", {},
    h("span", { class: "name mono" }, input.name),
    h("span", { class: "size" }, input.home ? "in the home" : size(input.size)),
    button("✕", () => remove(input), { class: "plain", "aria-label": `Remove ${input.name}` }))));
}

function remove(input) {
  inputs = inputs.filter((other) => other !== input);
  list();
}

/** Open the form, empty or filled in with the description of a job. */
export function open(job = null) {
  const old = job?.submitted ?? {};
  $("submit-title").textContent = job ? "Change and submit again" : "New job";
  $("submit-commands").value = (old.commands ?? []).join("\n");
  $("submit-name").value = old.name ?? "";
  $("submit-outputs").value = (old.outputs ?? []).join("\n");
  $("submit-wall").value = old.resources?.wall_time ?? "";
  $("submit-memory").value = old.resources?.memory_mb ?? "";
  $("submit-cores").value = old.resources?.cores ?? "";
  $("submit-retries").value = "";
  const variables = Object.entries(old.environment ?? {}).map(([name, value]) => `${name}=${value}`);
  $("submit-environment").value = variables.join("\n");
  inputs = (old.inputs ?? []).filter((input) => input.home);
  list();
  $("submit-error").hidden = $("submit-progress").hidden = true;
  $("submit").showModal();
  $("submit-commands").focus();
}

function showError(message) {
  $("submit-error").textContent = message;
  $("submit-error").hidden = false;
}

async function submit() {
  const number = (id) => ($(id).value === "" ? undefined : Number($(id).value));
  const variables = lines("submit-environment").map((line) => line.split(/=(.*)/, 2));
  if (variables.some((pair) => pair.length < 2)) return showError("Environment: write each line as NAME=value.");
  const job = {
    commands: $("submit-commands").value,
    inputs: inputs.filter((input) => input.home),
    outputs: lines("submit-outputs"),
    environment: Object.fromEntries(variables),
    resources: { wall_time: number("submit-wall"), memory_mb: number("submit-memory"), cores: number("submit-cores") },
    retries: number("submit-retries"),
  };
  if ($("submit-name").value.trim()) job.name = $("submit-name").value.trim();
  const form = new FormData();
  form.append("job", JSON.stringify(job));
  const uploads = inputs.filter((input) => !input.home);
  for (const file of uploads) form.append("files", file, file.name);
  const progress = $("submit-progress");
  progress.value = 0;
  progress.hidden = !uploads.length;
  $("submit-error").hidden = true;
  $("submit-send").disabled = true;
  try {
    const submitted = await send("POST", "api/jobs", form, (share) => { progress.value = share; });
    $("submit").close();
    toast(`Submitted ${submitted.name ?? submitted.id}.`);
    onSubmitted(submitted);
  } catch (error) {
    showError(error.message);
  } finally {
    $("submit-send").disabled = false;
    progress.hidden = true;
  }
}
