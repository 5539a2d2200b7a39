// The timeline: a chart of when jobs waited and ran.

import { $, duration, svg } from "./dom.js";
import { FINAL, onChange } from "./store.js";
import { matching } from "./table.js";

const MAX_JOBS = 200, BAR = 22, LEFT = 170, TOP = 26;
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400, 172800, 604800];

export function start() {
  onChange(() => draw());
  setInterval(draw, 2000);
  new ResizeObserver(() => draw()).observe($("timeline"));
}

export function draw() {
  const box = $("timeline");
  if ($("view-timeline").hidden || !box.clientWidth) return;
  const now = Date.now();
  const jobs = matching().filter((job) => job.received).slice(0, MAX_JOBS).sort((a, b) => a.received - b.received);
  $("timeline-note").textContent = jobs.length ? `The newest ${jobs.length} jobs of the filtered list: grey while they wait, in colour while they run.` : "No jobs to draw.";
  if (!jobs.length) return box.replaceChildren();
  const focused = document.activeElement?.getAttribute?.("data-job");
  const end = (job) => job.ended ?? (FINAL.has(job.state) ? job.began ?? job.received : now);
  const from = Math.min(...jobs.map((job) => job.received)), to = Math.max(from + 1000, ...jobs.map(end));
  const width = Math.max(320, box.clientWidth - 18), height = TOP + jobs.length * BAR + 8, left = Math.min(LEFT, width * 0.35);
  const x = (at) => left + ((at - from) / (to - from)) * (width - left - 12);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "group", "aria-label": `Timeline of ${jobs.length} jobs over ${duration((to - from) / 1000)}` });
  const step = STEPS.find((seconds) => ((to - from) / 1000) / seconds <= Math.max(2, (width - left) / 90)) ?? STEPS.at(-1);
  for (let at = 0; at * 1000 <= to - from; at += step) {
    const place = x(from + at * 1000);
    picture.append(svg("line", { class: "grid", x1: place, x2: place, y1: TOP - 6, y2: height }), svg("text", { x: place + 3, y: 14 }, at ? `+${duration(at).replace(/ 0 (s|min|h)$/, "")}` : new Date(from).toLocaleTimeString()));
  }
  jobs.forEach((job, index) => {
    const y = TOP + index * BAR, name = job.name || job.id, stop = end(job), began = job.began && job.began >= job.received ? job.began : null;
    const description = `${name}: ${job.state}, waited ${duration(((began ?? stop) - job.received) / 1000)}${began ? `, ran ${duration((stop - began) / 1000)}` : ""}`;
    const link = svg("a", { href: `#/job/${encodeURIComponent(job.id)}`, "aria-label": description, "data-job": job.id },
      svg("title", {}, description), svg("svg", { x: 4, y, width: left - 10, height: BAR }, svg("text", { class: "label", y: 14 }, name)),
      svg("rect", { class: "wait", x: x(job.received), y: y + 5, height: 10, width: Math.max(1, x(began ?? stop) - x(job.received)), rx: 2 }));
    if (began) link.append(svg("rect", { class: `run ${job.state} ${job.exit_code ? "bad" : ""}`, x: x(began), y: y + 2, height: 16, width: Math.max(2, x(stop) - x(began)), rx: 3 }));
    picture.append(link);
  });
  box.replaceChildren(picture);
  if (focused) picture.querySelector(`[data-job="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}
