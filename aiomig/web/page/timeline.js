// The timeline: a chart of when jobs waited and ran.

import { $, duration, svg } from "./dom.js";
import { FINAL, onChange } from "./store.js";
import { matching } from "./table.js";

const MAX_JOBS = 200;
const ROW_HEIGHT = 22, LABEL_WIDTH = 170, TOP = 26;
const MINUTE = 60, HOUR = 3600, DAY = 86400;
const STEPS = [
  0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE,
  HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, DAY, 2 * DAY, 7 * DAY,
];

export function start() {
  onChange(() => draw());
  setInterval(draw, 2000);
  new ResizeObserver(() => draw()).observe($("timeline"));
}

export function draw() {
  const box = $("timeline");
  if ($("view-timeline").hidden || !box.clientWidth) return;
  const jobs = matching().filter((job) => job.received).slice(0, MAX_JOBS).sort((a, b) => a.received - b.received);
  $("timeline-note").textContent = jobs.length
    ? `Matching jobs, at most the newest ${MAX_JOBS}: grey while they wait, in colour while they run.`
    : "No jobs to draw.";
  if (!jobs.length) return box.replaceChildren();
  const focused = document.activeElement?.getAttribute?.("data-job");
  const now = Date.now();
  const from = Math.min(...jobs.map((job) => job.received));
  const to = Math.max(from + 1000, ...jobs.map((job) => end(job, now)));
  const width = Math.max(320, box.clientWidth - 18), height = TOP + jobs.length * ROW_HEIGHT + 8;
  const left = Math.min(LABEL_WIDTH, width * 0.35);
  const x = (time) => left + ((time - from) / (to - from)) * (width - left - 12);
  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${height}`, height, role: "group",
    "aria-label": `Timeline of ${jobs.length} job${jobs.length === 1 ? "" : "s"} over ${duration((to - from) / 1000)}`,
  });
  picture.append(...gridLines(from, to, x, width - left, height));
  jobs.forEach((job, index) => picture.append(row(job, TOP + index * ROW_HEIGHT, x, left, now)));
  box.replaceChildren(picture);
  if (focused) picture.querySelector(`[data-job="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

const end = (job, now) => job.ended ?? (FINAL.has(job.state) ? job.began ?? job.received : now);

function gridLines(from, to, x, width, height) {
  const seconds = (to - from) / 1000;
  const step = STEPS.find((candidate) => seconds / candidate <= Math.max(2, width / 90)) ?? STEPS.at(-1);
  const elements = [];
  for (let offset = 0; offset <= seconds; offset += step) {
    const place = x(from + offset * 1000);
    const label = offset ? `+${duration(offset).replace(/ 0 (s|min|h)$/, "")}` : new Date(from).toLocaleTimeString();
    elements.push(
      svg("line", { class: "grid", x1: place, x2: place, y1: TOP - 6, y2: height }),
      svg("text", { x: place + 3, y: 14 }, label));
  }
  return elements;
}

function row(job, y, x, left, now) {
  const stop = end(job, now);
  const began = job.began && job.began >= job.received ? job.began : null;
  const runStart = began ?? stop;
  const waited = `waited ${duration((runStart - job.received) / 1000)}`;
  const ran = began ? `, ran ${duration((stop - began) / 1000)}` : "";
  const name = job.name || job.id;
  const description = `${name}: ${job.state}, ${waited}${ran}`;
  const bar = (kind, start, finish, minWidth, shape) =>
    svg("rect", { class: kind, x: x(start), width: Math.max(minWidth, x(finish) - x(start)), ...shape });
  const link = svg("a", { href: `#/job/${encodeURIComponent(job.id)}`, "aria-label": description, "data-job": job.id },
    svg("title", {}, description),
    svg("svg", { x: 4, y, width: left - 10, height: ROW_HEIGHT }, svg("text", { class: "label", y: 14 }, name)),
    bar("wait", job.received, runStart, 1, { y: y + 5, height: 10, rx: 2 }));
  if (began) {
    const kind = `run ${job.state} ${job.exit_code ? "bad" : ""}`;
    link.append(bar(kind, began, stop, 2, { y: y + 2, height: 16, rx: 3 }));
  }
  return link;
}
