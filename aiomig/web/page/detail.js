// The panel of a job: facts, live output, output files, actions.

import { act, address, encodePath, follow, get, jobPath } from "./api.js";
import { $, ask, button, duration, h, orToast, size, toast, when } from "./dom.js";
import { preview } from "./preview.js";
import { FINAL, jobs, onChange, runSeconds, setJob, stateClass } from "./store.js";

const STREAMS = ["stdout", "stderr"];
const MAX_CHUNKS = 5000;
const panel = $("detail");
let jobId = null;  // of the job in the panel
let full = null;  // the job with its description and outputs, once loaded
let stream = "stdout";
let stopOutput = () => {};
let callbacks = {};

export function start({ close, open, change }) {
  callbacks = { close, open, change };
  onChange((ids) => { if (jobId && ids.has(jobId)) refresh(); });
  panel.addEventListener("keydown", (event) => { if (event.key === "Escape") callbacks.close(); });
  setInterval(updateDuration, 1000);
}

function updateDuration() {
  const job = jobs.get(jobId);
  if (job && job.state === "EXECUTING") showFacts(job);
}

export function hide() {
  stopOutput();
  jobId = full = null;
  panel.hidden = true;
  panel.replaceChildren();
}

export async function show(id) {
  if (jobId === id) return;
  hide();
  jobId = id;
  panel.hidden = false;
  panel.replaceChildren(
    h("div", { class: "detail-head" },
      h("h2", { id: "detail-title" }),
      button("✕", () => callbacks.close(), { class: "plain", "aria-label": "Close" })),
    h("p", { class: "id mono", id: "detail-id" }, id),
    h("div", { class: "buttons", id: "detail-actions" }),
    h("dl", { id: "detail-facts" }),
    h("h3", {}, "Commands"),
    h("pre", { id: "detail-commands", tabindex: "0", "aria-label": "Commands" }),
    h("h3", {}, "Output"),
    h("div", { class: "tabs" },
      h("div", { class: "tabs", role: "tablist", "aria-label": "Streams" }, ...STREAMS.map(streamTab)),
      h("a", { class: "right", id: "detail-raw", target: "_blank", rel: "noopener" }, "Plain text")),
    h("pre", { id: "detail-output", class: "output", role: "tabpanel", tabindex: "0" }),
    h("h3", { id: "detail-outputs-title" }, "Output files"),
    h("div", { id: "detail-outputs" }),
    h("div", { class: "preview", id: "detail-preview", "aria-live": "polite" }));
  panel.setAttribute("aria-labelledby", "detail-title");
  panel.focus({ preventScroll: true });
  if (jobs.has(id)) showFacts(jobs.get(id));
  showOutput("stdout");
  await refresh();
}

/** Show the job as the list has it, and load the full job at first and after its end. */
async function refresh() {
  const id = jobId;
  const listed = jobs.get(id);
  if (listed) showFacts(listed);
  if (full && listed && !FINAL.has(listed.state)) return;
  try {
    const job = await get(jobPath(id));
    if (id !== jobId) return;
    full = job;
    if (!listed) setJob({ ...job });
    showFacts(jobs.get(id) ?? job);
    $("detail-commands").textContent = job.submitted.commands.join("\n");
    showFiles(job);
  } catch (error) {
    if (id === jobId) $("detail-facts").replaceChildren(h("dd", { class: "error" }, error.message));
  }
}

// -- facts and actions

function showFacts(job) {
  $("detail-title").textContent = job.name || job.id;
  const run = runSeconds(job);
  const labels = Object.entries(job.labels ?? {}).map(([key, value]) => `${key}=${value}`);
  const attempts = (job.attempts ?? []).map((attempt) => `failed: ${attempt.reason || "no reason given"}`);
  const rows = [
    ["State", h("span", { class: stateClass(job) }, job.state === "UNKNOWN" ? job.native : job.state)],
    ["Exit code", job.exit_code],
    ["Received", when(job.received_at)],
    ["Started", when(job.executing_at)],
    ["Ended", when(job.finished_at ?? job.canceled_at ?? (job.state === "FAILED" ? job.failed_at : null))],
    ["Duration", duration(run)],
    ["Resource", job.resource],
    ["Schedule", job.schedule_hint],
    ["Labels", labels.join(", ")],
    ...attempts.map((text, index) => [`Attempt ${index + 1}`, text]),
  ].filter(([, value]) => value !== null && value !== undefined && value !== "");
  $("detail-facts").replaceChildren(...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  showActions(job);
}

function showActions(job) {
  const actions = [
    !FINAL.has(job.state) && ["Cancel", cancel, "danger"],
    ["QUEUED", "RETRY"].includes(job.state) && ["Freeze", () => action("freeze", "Held back.")],
    job.state === "FROZEN" && ["Thaw", () => action("thaw", "Back in the queue.")],
    ["Submit again", resubmit],
    ["Change and submit…", () => full && callbacks.change(full)],
  ].filter(Boolean);
  const place = $("detail-actions");
  const present = [...place.children].map((child) => child.textContent).join();
  if (present === actions.map(([label]) => label).join()) return;
  const focused = place.contains(document.activeElement);
  place.replaceChildren(...actions.map(([label, run, kind = ""]) => button(label, run, { class: kind })));
  if (focused) panel.focus({ preventScroll: true });
}

const action = (name, message) => orToast(async () => {
  await act(jobPath(jobId, `/${name}`));
  toast(message);
});

async function cancel() {
  const warning = "Its output so far is lost, except for what local mode keeps.";
  if (await ask("Cancel this job?", warning, { yes: "Cancel the job" })) await action("cancel", "Canceled.");
}

const resubmit = () => orToast(async () => {
  const job = await act(jobPath(jobId, "/resubmit"));
  toast("Submitted again.");
  callbacks.open(job.id);
});

// -- standard output and standard error

function streamTab(name) {
  const attributes = { role: "tab", id: `tab-${name}`, "aria-controls": "detail-output", onkeydown: switchTab };
  return button(name, () => showOutput(name), attributes);
}

function switchTab(event) {
  if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
  const other = event.target.id === "tab-stdout" ? "stderr" : "stdout";
  showOutput(other);
  $(`tab-${other}`).focus();
}

function showOutput(name) {
  stopOutput();
  stream = name;
  for (const tab of STREAMS) {
    $(`tab-${tab}`).setAttribute("aria-selected", String(tab === name));
    $(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
  }
  const box = $("detail-output");
  box.setAttribute("aria-labelledby", `tab-${name}`);
  box.replaceChildren();
  $("detail-raw").href = address(jobPath(jobId, `/${name}`));
  const id = jobId;
  let empty = true;
  stopOutput = follow(jobPath(id, `/${name}?follow=true`), {
    message: (text) => {
      if (id !== jobId || stream !== name) return;
      const atBottom = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
      box.append(document.createTextNode((empty ? "" : "\n") + text));
      empty = false;
      while (box.childNodes.length > MAX_CHUNKS) box.firstChild.remove();
      if (atBottom) box.scrollTop = box.scrollHeight;
    },
    end: () => { if (id === jobId && empty) box.append(h("span", { class: "unnamed" }, "(nothing)")); },
  });
}

// -- output files

function showFiles(job) {
  const sizes = new Map((job.outputs ?? []).map((file) => [file.name, file.size]));
  const names = job.submitted.outputs;
  const download = (path) => ({ href: address(jobPath(job.id, path)), download: "" });
  $("detail-outputs-title").hidden = !names.length;
  $("detail-outputs").replaceChildren(h("ul", { class: "outputs" }, ...names.map((name) => {
    const path = `/outputs/${encodePath(name)}`;
    const arrived = sizes.has(name);
    const state = arrived ? size(sizes.get(name)) : FINAL.has(job.state) ? "missing" : "not yet";
    return h("li", {},
      h("span", { class: "name mono" }, name),
      h("span", { class: "size" }, state),
      arrived && button("Preview", () => showPreview(jobPath(job.id, path), name, sizes.get(name))),
      arrived && h("a", { ...download(path), "aria-label": `Download ${name}` }, "Download"));
  })));
  if (sizes.size < 2) return;
  $("detail-outputs").append(h("p", {}, h("a", download("/outputs.zip"), "Download all as one zip")));
}

const showPreview = (path, name, bytes) => orToast(async () => {
  $("detail-preview").replaceChildren(h("h3", {}, `Preview of ${name}`), await preview(path, name, bytes));
  $("detail-preview").scrollIntoView({ block: "nearest" });
});
