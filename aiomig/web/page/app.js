// The page: switches between the views and handles keyboard shortcuts.

import * as detail from "./detail.js";
import { $ } from "./dom.js";
import * as files from "./files.js";
import * as store from "./store.js";
import * as submit from "./submit.js";
import * as table from "./table.js";
import * as timeline from "./timeline.js";

const VIEWS = ["jobs", "timeline", "files"];
let view = "jobs";
const goto = (hash) => { location.hash = hash; };

function route() {
  const [, name, ...rest] = location.hash.split("/");
  const job = name === "job" ? decodeURIComponent(rest[0] ?? "") : null;
  if (VIEWS.includes(name)) view = name;
  for (const other of VIEWS) $(`view-${other}`).hidden = other !== view;
  for (const link of document.querySelectorAll("header nav a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (job) detail.show(job); else detail.hide();
  table.select(job);
  document.title = `${view[0].toUpperCase()}${view.slice(1)} · aiomig`;
  if (view === "files" && !job) files.show(rest.map(decodeURIComponent).join("/"));
  if (view === "timeline") timeline.draw();
}

function close() {
  const id = decodeURIComponent(location.hash.split("/")[2] ?? "");
  goto(`#/${view}`);
  setTimeout(() => view === "jobs" && table.focusRow(id));
}

function connection(state, message = "refused: open the address that the service printed") {
  const label = $("connection");
  label.className = `connection ${state === "live" ? "live" : "lost"}`;
  label.textContent = state === "live" ? "live" : state === "reconnecting" ? "reconnecting…" : message;
}

const open = (id) => goto(`#/job/${encodeURIComponent(id)}`);
table.start(open);
timeline.start();
files.start();
detail.start({ close, open, change: submit.open });
submit.start((job) => { store.setJob({ ...job }); open(job.id); });
$("new-job").addEventListener("click", () => submit.open());
addEventListener("hashchange", route);
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, dialog")) return;
  if (event.key === "/") { event.preventDefault(); goto("#/jobs"); setTimeout(() => $("filter").focus()); }
  if (event.key === "n") { event.preventDefault(); submit.open(); }
});
route();
store.start(connection);
