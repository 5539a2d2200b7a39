// The panel of a job: facts, live output, output files, actions.

import { act, address, follow, get, jobPath } from "./api.js";
import { $, ask, duration, h, size, toast, when } from "./dom.js";
import { preview } from "./preview.js";
import { FINAL, jobs, onChange, runSeconds, setJob, stateClass } from "./store.js";

const MAX_CHUNKS = 5000;
let jobId = null, stopOutput = () => {}, stream = "stdout", full = null, callbacks = {};
const panel = $("detail");

export function start({ close, open, change }) {
  callbacks = { close, open, change };
  onChange((ids) => { if (jobId && ids.has(jobId)) refresh(); });
  panel.addEventListener("keydown", (event) => { if (event.key === "Escape") callbacks.close(); });
  setInterval(() => { const job = jobs.get(jobId); if (job && job.state === "EXECUTING") facts(job); }, 1000);
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
  stream = "stdout";
  panel.hidden = false;
  panel.replaceChildren(
    h("div", { class: "detail-head" }, h("h2", { id: "detail-title" }), h("button", { type: "button", class: "plain", "aria-label": "Close", onclick: () => callbacks.close() }, "✕")),
    h("p", { class: "id mono", id: "detail-id" }, id),
    h("div", { class: "buttons", id: "detail-actions" }),
    h("dl", { id: "detail-facts" }),
    h("h3", {}, "Commands"), h("pre", { id: "detail-commands", tabindex: "0", "aria-label": "Commands" }),
    h("h3", {}, "Output"),
    h("div", { class: "tabs" }, h("div", { class: "tabs", role: "tablist", "aria-label": "Streams" }, ...["stdout", "stderr"].map((name) =>
      h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "detail-output", onclick: () => output(name), onkeydown: tabKey }, name))),
      h("a", { class: "right", id: "detail-raw", target: "_blank", rel: "noopener" }, "Plain text")),
    h("pre", { id: "detail-output", class: "output", role: "tabpanel", tabindex: "0", "aria-labelledby": "tab-stdout" }),
    h("h3", { id: "detail-outputs-title" }, "Output files"), h("div", { id: "detail-outputs" }), h("div", { class: "preview", id: "detail-preview", "aria-live": "polite" }));
  panel.setAttribute("aria-labelledby", "detail-title");
  panel.focus({ preventScroll: true });
  if (jobs.has(id)) facts(jobs.get(id));
  output("stdout");
  await refresh();
}

function tabKey(event) {
  if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
  const other = event.target.id === "tab-stdout" ? "stderr" : "stdout";
  output(other);
  $(`tab-${other}`).focus();
}

async function refresh() {
  const id = jobId;
  const listed = jobs.get(id);
  if (listed) facts(listed);
  if (full && listed && !FINAL.has(listed.state)) return;
  try {
    const job = await get(jobPath(id));
    if (id !== jobId) return;
    full = job;
    if (!listed) setJob({ ...job });
    facts(jobs.get(id) ?? job);
    $("detail-commands").textContent = job.submitted.commands.join("\n");
    files(job);
  } catch (error) {
    if (id === jobId) $("detail-facts").replaceChildren(h("dd", { class: "error" }, error.message));
  }
}

function facts(job) {
  $("detail-title").textContent = job.name || job.id;
  const run = runSeconds(job);
  const rows = [
    ["State", h("span", { class: stateClass(job) }, job.state === "UNKNOWN" ? job.native : job.state)],
    ["Exit code", job.exit_code ?? null],
    ["Received", when(job.received_at)], ["Started", when(job.executing_at)],
    ["Ended", when(job.finished_at ?? job.canceled_at ?? (job.state === "FAILED" ? job.failed_at : null))],
    ["Duration", run === null || isNaN(run) ? null : duration(run)],
    ["Resource", job.resource], ["Schedule", job.schedule_hint],
    ["Labels", job.labels && Object.entries(job.labels).map(([key, value]) => `${key}=${value}`).join(", ")],
    ...(job.attempts ?? []).map((attempt, index) => [`Attempt ${index + 1}`, `failed: ${attempt.reason || "no reason given"}`]),
  ];
  $("detail-facts").replaceChildren(...rows.filter(([, value]) => value !== null && value !== undefined && value !== "").flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value instanceof Node ? value : String(value))]));
  const final = FINAL.has(job.state);
  const actions = [
    !final && ["Cancel", "danger", cancel],
    ["QUEUED", "RETRY"].includes(job.state) && ["Freeze", "", () => action("freeze")],
    job.state === "FROZEN" && ["Thaw", "", () => action("thaw")],
    ["Submit again", "", () => again()],
    ["Change and submit…", "", () => full && callbacks.change(full)],
  ].filter(Boolean);
  const present = [...$("detail-actions").children].map((button) => button.textContent).join();
  if (present !== actions.map(([name]) => name).join()) {
    const focused = $("detail-actions").contains(document.activeElement);
    $("detail-actions").replaceChildren(...actions.map(([name, kind, run]) => h("button", { type: "button", class: kind, onclick: run }, name)));
    if (focused) panel.focus({ preventScroll: true });
  }
}

async function action(name) {
  try {
    await act(jobPath(jobId, `/${name}`));
    toast(name === "cancel" ? "Canceled." : name === "freeze" ? "Held back." : "Back in the queue.");
  } catch (error) { toast(error.message, true); }
}

async function cancel() {
  if (await ask("Cancel this job?", "Its output so far is lost, except for what local mode keeps.", { yes: "Cancel the job" })) await action("cancel");
}

async function again() {
  try {
    const job = await act(jobPath(jobId, "/resubmit"));
    toast("Submitted again.");
    callbacks.open(job.id);
  } catch (error) { toast(error.message, true); }
}

function output(name) {
  stopOutput();
  stream = name;
  const box = $("detail-output");
  for (const tab of ["stdout", "stderr"]) {
    $(`tab-${tab}`).setAttribute("aria-selected", String(tab === name));
    $(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
  }
  box.setAttribute("aria-labelledby", `tab-${name}`);
  $("detail-raw").href = address(jobPath(jobId, `/${name}`));
  box.replaceChildren();
  let empty = true;
  const id = jobId;
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

function files(job) {
  const present = new Map((job.outputs ?? []).map((file) => [file.name, file.size]));
  const declared = job.submitted.outputs;
  $("detail-outputs-title").hidden = !declared.length;
  $("detail-outputs").replaceChildren(
    h("ul", { class: "outputs" }, ...declared.map((name) => {
      const path = jobPath(job.id, "/outputs/" + name.split("/").map(encodeURIComponent).join("/"));
      const arrived = present.has(name);
      return h("li", {}, h("span", { class: "name mono" }, name), h("span", { class: "size" }, arrived ? size(present.get(name)) : FINAL.has(job.state) ? "missing" : "not yet"),
        arrived && h("button", { type: "button", onclick: () => look(path, name, present.get(name)) }, "Preview"),
        arrived && h("a", { href: address(path), download: "", "aria-label": `Download ${name}` }, "Download"));
    })),
    ...(present.size > 1 ? [h("p", {}, h("a", { href: address(jobPath(job.id, "/outputs.zip")), download: "" }, "Download all as one zip"))] : []));
}

async function look(path, name, bytes) {
  try {
    $("detail-preview").replaceChildren(h("h3", {}, `Preview of ${name}`), await preview(path, name, bytes));
    $("detail-preview").scrollIntoView({ block: "nearest" });
  } catch (error) { toast(error.message, true); }
}
