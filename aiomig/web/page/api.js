// Requests to the service. All addresses are relative to the page, which may be mounted anywhere.

export const address = (path) => new URL(path, document.baseURI.split("#")[0]).href;
export const jobPath = (id, rest = "") => `api/jobs/${encodeURIComponent(id)}${rest}`;
export const filePath = (path) => "api/files/" + path.split("/").map(encodeURIComponent).join("/");

export class Failure extends Error {}

async function failure(response) {
  let words = `${response.status} ${response.statusText}`;
  try {
    const problem = await response.json();
    words = problem.faults ? problem.faults.map((each) => `${each.field}: ${each.problem}; ${each.remedy}`).join("\n") : problem.detail;
  } catch { /* not a problem document */ }
  return new Failure(words);
}

export async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(address(path), { credentials: "same-origin", ...options });
  } catch {
    throw new Failure("The service does not answer. Its jobs are not affected.");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

export const get = async (path) => (await request(path)).json();
export const act = async (path, method = "POST") => (await request(path, { method })).json();

/** Send a body with a progress report, which fetch does not have. */
export function send(method, path, body, progress = () => {}) {
  return new Promise((resolve, reject) => {
    const sender = new XMLHttpRequest();
    sender.open(method, address(path));
    sender.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    sender.onerror = () => reject(new Failure("The upload broke off."));
    sender.onload = async () => {
      if (sender.status < 300) return resolve(sender.responseText ? JSON.parse(sender.responseText) : null);
      reject(await failure(new Response(sender.response, { status: sender.status, statusText: sender.statusText })));
    };
    sender.send(body);
  });
}

/** Follow server-sent events. The browser connects again and says which event it had last. */
export function follow(path, { message, end = null, open = null, lost = null }) {
  let source, timer, closed = false, refusals = 0;
  const connect = (again) => {
    source = new EventSource(address(path));
    source.onopen = () => { refusals = 0; open && open(again); };
    source.onmessage = (event) => message(event.data, event.lastEventId);
    if (end) source.addEventListener("end", (event) => { close(); end(event.data); });
    source.onerror = () => {
      lost && lost(source.readyState === EventSource.CLOSED);
      // The service refuses: it may be about to end. One that goes on to refuse a single job does not have it.
      if (source.readyState === EventSource.CLOSED && !closed && (lost || ++refusals < 5)) timer = setTimeout(() => connect(true), 2000);
    };
  };
  const close = () => { closed = true; clearTimeout(timer); source.close(); };
  connect(false);
  return close;
}
