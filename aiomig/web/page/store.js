// All jobs, kept up to date by the service.

import { follow, get } from "./api.js";

export const FINAL = new Set(["FINISHED", "FAILED", "CANCELED", "EXPIRED"]);
export const jobs = new Map();
const listeners = new Set();
const time = (text) => (text ? Date.parse(text) : null);

export function onChange(listener) { listeners.add(listener); }

let scheduled = false;
const changed = new Set();
function tell() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    const ids = new Set(changed);
    changed.clear();
    for (const listener of listeners) listener(ids);
  });
}

export function take(job) {
  job.received = time(job.received_at) ?? time(job.queued_at);
  job.began = time(job.executing_at);
  job.ended = FINAL.has(job.state) ? time(job.finished_at) ?? time(job.canceled_at) ?? time(job.failed_at) : null;
  jobs.set(job.id, job);
  changed.add(job.id);
  tell();
}

export const hasFailed = (job) => job.state === "FAILED" || job.state === "EXPIRED" || Boolean(job.exit_code);
export const stateClass = (job) => `state ${job.state}${hasFailed(job) ? " bad" : ""}`;

export const runSeconds = (job, now = Date.now()) =>
  job.began === null || job.began === undefined || (FINAL.has(job.state) && !job.ended) ? null : ((job.ended ?? (job.state === "EXECUTING" ? now : NaN)) - job.began) / 1000;

export async function load() {
  let next = "api/jobs?limit=200";
  while (next) {
    const page = await get(next);
    page.jobs.forEach(take);
    next = page.next === null ? null : "api/jobs" + page.next.slice(page.next.indexOf("?")).replace(/limit=\d+/, "limit=5000");
  }
  tell();
}

export function start(state) {
  follow("api/events", {
    message: (data) => take(JSON.parse(data)),
    open: async () => { try { await load(); state("live"); } catch (error) { state("lost", error.message); } },
    lost: (refused) => state(refused ? "lost" : "again"),
  });
}
