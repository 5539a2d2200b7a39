// The table of jobs. The document contains only the visible rows.

import { $, age, button, duration, h } from "./dom.js";
import { FINAL, hasFailed, jobs, onChange, runSeconds, stateClass } from "./store.js";

const ROW = 37;
const COLUMNS = [
  { key: "name", title: "Name", value: (job) => (job.name || job.id).toLowerCase() },
  { key: "state", title: "State", value: (job) => job.state },
  { key: "exit", title: "Exit", number: true, value: (job) => job.exit_code ?? -1 },
  { key: "age", title: "Age", number: true, value: (job) => -(job.received ?? 0) },
  { key: "duration", title: "Duration", number: true, value: (job) => runSeconds(job) ?? -1 },
  { key: "resource", title: "Resource", value: (job) => job.resource ?? "" },
];
const TITLES = {
  all: "All", waiting: "Waiting", running: "Running", finished: "Finished", failed: "Failed", canceled: "Canceled",
};

let sort = { key: "age", down: false };
let group = "all";
let view = [];
let active = null;  // the id of the row that the Tab key reaches
let selected = null;  // the id of the job in the panel
let open = () => {};
const cellClass = (column) => `c-${column.key} ${column.number ? "number" : ""}`;
const scroll = $("jobs-scroll");
const body = $("jobs").tBodies[0];

export function start(onOpen) {
  open = onOpen;
  const head = $("jobs").tHead.rows[0];
  for (const column of COLUMNS) {
    const title = button(column.title, () => sortBy(column.key));
    head.append(h("th", { scope: "col", class: cellClass(column), "data-key": column.key }, title));
  }
  for (const key of Object.keys(TITLES)) {
    const attributes = { "data-group": key, "aria-pressed": String(key === group) };
    const chip = button(`${TITLES[key]} `, () => choose(key), attributes);
    chip.append(h("b", {}, "0"));
    $("states").append(chip);
  }
  $("filter").addEventListener("input", update);
  scroll.addEventListener("scroll", render, { passive: true });
  new ResizeObserver(render).observe(scroll);
  body.addEventListener("keydown", onKey);
  body.addEventListener("click", (event) => {
    const id = event.target.closest("tr")?.dataset.id;
    if (!id) return;
    active = id;
    open(id);
  });
  onChange(update);
  setInterval(() => { if (!document.hidden) render(); }, 1000);
  update();
}

function sortBy(key) {
  sort = { key, down: sort.key === key ? !sort.down : false };
  update();
}

function choose(key) {
  group = key;
  for (const button of $("states").children) button.setAttribute("aria-pressed", String(button.dataset.group === key));
  update();
}

/** Return the jobs that match the filter, in the order of the table. */
export function matching() { return view; }

function update() {
  const filter = $("filter").value.trim().toLowerCase();
  const counts = Object.fromEntries(Object.keys(TITLES).map((key) => [key, 0]));
  const matches = [];
  for (const job of jobs.values()) {
    if (filter && !(job.name || "").toLowerCase().includes(filter) && !job.id.toLowerCase().includes(filter)) continue;
    counts.all += 1;
    counts[groupOf(job)] += 1;
    if (group === "all" || group === groupOf(job)) matches.push(job);
  }
  const { value } = COLUMNS.find(({ key }) => key === sort.key);
  const sign = sort.down ? -1 : 1;
  view = matches
    .map((job) => [value(job), job])
    .sort(([a, job], [b, other]) => (a < b ? -sign : a > b ? sign : newestFirst(job, other)))
    .map(([, job]) => job);
  for (const button of $("states").children) button.lastElementChild.textContent = counts[button.dataset.group];
  for (const cell of $("jobs").tHead.rows[0].cells) {
    if (cell.dataset.key === sort.key) cell.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  }
  const total = jobs.size === 1 ? "1 job" : `${jobs.size} jobs`;
  $("jobs-count").textContent = view.length === jobs.size ? total : `${view.length} of ${total}`;
  $("jobs-empty").hidden = view.length > 0;
  scroll.hidden = view.length === 0;
  $("jobs-empty").textContent = jobs.size ? "No job matches." : "No jobs yet. “New job” submits one.";
  render();
}

function groupOf(job) {
  if (hasFailed(job)) return "failed";
  if (job.state === "EXECUTING") return "running";
  return FINAL.has(job.state) ? job.state.toLowerCase() : "waiting";
}

/** Compare two jobs by time, then by the counter that begins an id, then by id. */
function newestFirst(job, other) {
  const order = (other.received ?? 0) - (job.received ?? 0) || parseInt(other.id) - parseInt(job.id);
  return order || (other.id > job.id ? 1 : -1);
}

function render() {
  if (scroll.hidden || !scroll.clientHeight) return;
  const first = Math.max(0, Math.floor(scroll.scrollTop / ROW) - 8);
  const last = Math.min(view.length, Math.ceil((scroll.scrollTop + scroll.clientHeight) / ROW) + 8);
  const focused = body.contains(document.activeElement) ? document.activeElement.dataset.id : null;
  const rows = new Map();
  for (const row of body.rows) if (row.dataset.id) rows.set(row.dataset.id, row);
  if (!view.some((job) => job.id === active)) active = view[0]?.id ?? null;
  const content = [spacer(first * ROW)];
  const now = Date.now();
  for (let index = first; index < last; index += 1) {
    const job = view[index];
    const row = rows.get(job.id) ?? newRow(job);
    fill(row, job, now);
    row.setAttribute("aria-rowindex", index + 2);
    row.tabIndex = job.id === active || (index === first && focused === null && !isActiveBetween(first, last)) ? 0 : -1;
    row.setAttribute("aria-selected", String(job.id === selected));
    content.push(row);
  }
  content.push(spacer((view.length - last) * ROW));
  $("jobs").setAttribute("aria-rowcount", view.length + 1);
  if (content.length !== body.rows.length || content.some((row, index) => body.rows[index] !== row && row.dataset.id)) {
    body.replaceChildren(...content);
    if (focused && rows.get(focused)?.isConnected) rows.get(focused).focus({ preventScroll: true });
  } else {
    body.rows[0].firstChild.style.height = content[0].firstChild.style.height;
    body.rows[body.rows.length - 1].firstChild.style.height = content[content.length - 1].firstChild.style.height;
  }
}

const isActiveBetween = (first, last) => view.slice(first, last).some((job) => job.id === active);

function spacer(height) {
  const row = h("tr", { class: "spacer", "aria-hidden": "true" }, h("td"));
  row.firstChild.style.height = `${height}px`;
  return row;
}

function newRow(job) {
  const row = h("tr", { "data-id": job.id }, ...COLUMNS.map((column) => h("td", { class: cellClass(column) })));
  row.cells[1].append(h("span", { class: "state" }));
  return row;
}

function put(node, text) { if (node.textContent !== text) node.textContent = text; }

function fill(row, job, now) {
  const [name, state, exit, old, run, resource] = row.cells;
  put(name, job.name || job.id);
  name.title = job.id;
  name.classList.toggle("unnamed", !job.name);
  put(state.firstChild, job.state === "UNKNOWN" ? job.native || job.state : job.state);
  state.firstChild.className = stateClass(job);
  put(exit, job.exit_code === undefined || job.exit_code === null ? "" : String(job.exit_code));
  exit.classList.toggle("bad", Boolean(job.exit_code));
  put(old, age(job.received ? (now - job.received) / 1000 : null));
  put(run, duration(runSeconds(job, now)));
  put(resource, job.resource ?? "");
}

export function select(id) {
  selected = id;
  if (id !== null) active = id;
  render();
}

export function focusRow(id) {
  ([...body.rows].find((row) => row.dataset.id === id) ?? $("filter")).focus();
}

function onKey(event) {
  const id = event.target.dataset?.id;
  if (!id || event.altKey || event.ctrlKey || event.metaKey) return;
  const at = view.findIndex((job) => job.id === id);
  const page = Math.max(1, Math.floor(scroll.clientHeight / ROW) - 2);
  const targets = {
    ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: view.length - 1,
  };
  const target = targets[event.key];
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    open(id);
  } else if (target !== undefined) {
    event.preventDefault();
    const index = Math.min(Math.max(target, 0), view.length - 1);
    active = view[index].id;
    const top = index * ROW, height = scroll.clientHeight - ROW;
    if (top < scroll.scrollTop) scroll.scrollTop = top;
    else if (top + ROW > scroll.scrollTop + height) scroll.scrollTop = top + ROW - height;
    render();
    [...body.rows].find((row) => row.dataset.id === active)?.focus({ preventScroll: true });
  }
}
