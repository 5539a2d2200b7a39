// All jobs, kept up to date by server-sent events.

import { follow, get } from "./api.js";

export const FINAL = new Set(["FINISHED", "FAILED", "CANCELED", "EXPIRED"]);
export const jobs = new Map();
const listeners = new Set();
const time = (text) => (text ? Date.parse(text) : null);

export function onChange(listener) { listeners.add(listener); }

let scheduled = false;
const changed = new Set();
function notify() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    const ids = new Set(changed);
    changed.clear();
    for (const listener of listeners) listener(ids);
  });
}

/** Store the current status of a job. */
export function setJob(job) {
  job.received = time(job.received_at) ?? time(job.queued_at);
  job.began = time(job.executing_at);
  job.ended = FINAL.has(job.state) ? time(job.finished_at) ?? time(job.canceled_at) ?? time(job.failed_at) : null;
  jobs.set(job.id, job);
  changed.add(job.id);
  notify();
}

export const hasFailed = (job) => job.state === "FAILED" || job.state === "EXPIRED" || Boolean(job.exit_code);
export const stateClass = (job) => `state ${job.state}${hasFailed(job) ? " bad" : ""}`;

/** Return how long a job ran or has been running, or null if that is unknown. */
export function runSeconds(job, now = Date.now()) {
  const end = job.ended ?? (job.state === "EXECUTING" ? now : null);
  return job.began && end ? (end - job.began) / 1000 : null;
}

export async function load() {
  let next = "api/jobs?limit=200";
  while (next) {
    const page = await get(next);
    page.jobs.forEach(setJob);
    // The first page is small, so that it appears quickly; the others are large. URLs must be relative.
    const query = page.next?.slice(page.next.indexOf("?")).replace(/limit=\d+/, "limit=5000");
    next = query && `api/jobs${query}`;
  }
  notify();
}

/** Follow all jobs; report the connection as "live", "reconnecting" or "lost". */
export function start(connection) {
  follow("api/events", {
    message: (data) => setJob(JSON.parse(data)),
    open: async () => {
      try {
        await load();
        connection("live");
      } catch (error) {
        connection("lost", error.message);
      }
    },
    lost: (refused) => connection(refused ? "lost" : "reconnecting"),
  });
}
