// The panel of one job: facts, live output, outputs, actions.

import { act, address, follow, get, jobPath } from "./api.js";
import { $, ask, duration, h, size, toast, when } from "./dom.js";
import { preview } from "./preview.js";
import { FINAL, jobs, onChange, runSeconds, stateClass, take } from "./store.js";

const MOST_LINES = 5000;
let shown = null, stopOutput = () => {}, stream = "stdout", full = null, hooks = {};
const panel = $("detail");

export function start(given) {
  hooks = given;
  onChange((ids) => { if (shown && ids.has(shown)) refresh(); });
  panel.addEventListener("keydown", (event) => { if (event.key === "Escape") hooks.close(); });
  setInterval(() => { const job = jobs.get(shown); if (job && job.state === "EXECUTING") facts(job); }, 1000);
}

export function hide() {
  stopOutput();
  shown = full = null;
  panel.hidden = true;
  panel.replaceChildren();
}

export async function show(id) {
  if (shown === id) return;
  hide();
  shown = id;
  stream = "stdout";
  panel.hidden = false;
  panel.replaceChildren(
    h("div", { class: "detail-head" }, h("h2", { id: "detail-title" }), h("button", { type: "button", class: "plain", "aria-label": "Close", onclick: () => hooks.close() }, "✕")),
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
  const known = jobs.get(id);
  if (known) facts(known);
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
  const id = shown;
  const known = jobs.get(id);
  if (known) facts(known);
  if (full && known && !FINAL.has(known.state)) return;
  try {
    const job = await get(jobPath(id));
    if (id !== shown) return;
    full = job;
    if (!known) take({ ...job });
    facts(jobs.get(id) ?? job);
    $("detail-commands").textContent = job.submitted.commands.join("\n");
    files(job);
  } catch (error) {
    if (id === shown) $("detail-facts").replaceChildren(h("dd", { class: "error" }, error.message));
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
    ...(job.attempts ?? []).map((each, at) => [`Attempt ${at + 1}`, `failed: ${each.reason || "no reason given"}`]),
  ];
  $("detail-facts").replaceChildren(...rows.filter(([, value]) => value !== null && value !== undefined && value !== "").flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value instanceof Node ? value : String(value))]));
  const final = FINAL.has(job.state);
  const wanted = [
    !final && ["Cancel", "danger", cancel],
    ["QUEUED", "RETRY"].includes(job.state) && ["Freeze", "", () => action("freeze")],
    job.state === "FROZEN" && ["Thaw", "", () => action("thaw")],
    ["Submit again", "", () => again()],
    ["Change and submit…", "", () => full && hooks.change(full)],
  ].filter(Boolean);
  const present = [...$("detail-actions").children].map((button) => button.textContent).join();
  if (present !== wanted.map(([name]) => name).join()) {
    const focused = $("detail-actions").contains(document.activeElement);
    $("detail-actions").replaceChildren(...wanted.map(([name, kind, run]) => h("button", { type: "button", class: kind, onclick: run }, name)));
    if (focused) panel.focus({ preventScroll: true });
  }
}

async function action(name) {
  try {
    await act(jobPath(shown, `/${name}`));
    toast(name === "cancel" ? "Canceled." : name === "freeze" ? "Held back." : "Back in the queue.");
  } catch (error) { toast(error.message, true); }
}

async function cancel() {
  if (await ask("Cancel this job?", "What it has written so far is lost, except for what local mode keeps.", { yes: "Cancel the job" })) await action("cancel");
}

async function again() {
  try {
    const job = await act(jobPath(shown, "/resubmit"));
    toast("Submitted again.");
    hooks.open(job.id);
  } catch (error) { toast(error.message, true); }
}

function output(name) {
  stopOutput();
  stream = name;
  const box = $("detail-output");
  for (const each of ["stdout", "stderr"]) {
    const on = each === name;
    $(`tab-${each}`).setAttribute("aria-selected", String(on));
    $(`tab-${each}`).tabIndex = on ? 0 : -1;
  }
  box.setAttribute("aria-labelledby", `tab-${name}`);
  $("detail-raw").href = address(jobPath(shown, `/${name}`));
  box.replaceChildren();
  let lines = 0, first = true;
  const id = shown;
  stopOutput = follow(jobPath(id, `/${name}?follow=true`), {
    message: (text) => {
      if (id !== shown || stream !== name) return;
      const bottom = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
      box.append(document.createTextNode((first ? "" : "\n") + text));
      first = false;
      lines += 1;
      while (box.childNodes.length > MOST_LINES) box.firstChild.remove();
      if (bottom) box.scrollTop = box.scrollHeight;
    },
    end: () => { if (id === shown && !lines) box.append(h("span", { class: "unnamed" }, "(nothing)")); },
  });
}

function files(job) {
  const present = new Map((job.outputs ?? []).map((each) => [each.name, each.size]));
  const declared = job.submitted.outputs;
  $("detail-outputs-title").hidden = !declared.length;
  $("detail-outputs").replaceChildren(
    h("ul", { class: "outputs" }, ...declared.map((name) => {
      const path = jobPath(job.id, "/outputs/" + name.split("/").map(encodeURIComponent).join("/"));
      const here = present.has(name);
      return h("li", {}, h("span", { class: "name mono" }, name), h("span", { class: "size" }, here ? size(present.get(name)) : FINAL.has(job.state) ? "missing" : "not yet"),
        here && h("button", { type: "button", onclick: () => look(path, name, present.get(name)) }, "Preview"),
        here && h("a", { href: address(path), download: "", "aria-label": `Download ${name}` }, "Download"));
    })),
    ...(present.size > 1 ? [h("p", {}, h("a", { href: address(jobPath(job.id, "/outputs.zip")), download: "" }, "Download all as one zip"))] : []));
}

async function look(path, name, bytes) {
  try {
    $("detail-preview").replaceChildren(h("h3", {}, `Preview of ${name}`), await preview(path, name, bytes));
    $("detail-preview").scrollIntoView({ block: "nearest" });
  } catch (error) { toast(error.message, true); }
}
