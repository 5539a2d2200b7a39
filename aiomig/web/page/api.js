// Requests to the service. All URLs are relative to the page, so the page can be mounted at any path.

export const address = (path) => new URL(path, document.baseURI.split("#")[0]).href;
export const jobPath = (id, rest = "") => `api/jobs/${encodeURIComponent(id)}${rest}`;
export const encodePath = (path) => path.split("/").map(encodeURIComponent).join("/");
export const filePath = (path) => `api/files/${encodePath(path)}`;

export class Failure extends Error {}

async function failure(response) {
  let message = `${response.status} ${response.statusText}`;
  try {
    const problem = await response.json();
    const faults = problem.faults?.map((fault) => `${fault.field}: ${fault.problem}; ${fault.remedy}`);
    message = faults ? faults.join("\n") : problem.detail;
  } catch { /* not a problem document */ }
  return new Failure(message);
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

/** Send a body and report the progress, which fetch cannot do. */
export function send(method, path, body, progress = () => {}) {
  return new Promise((resolve, reject) => {
    const sender = new XMLHttpRequest();
    sender.open(method, address(path));
    sender.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    sender.onerror = () => reject(new Failure("The upload was interrupted."));
    sender.onload = async () => {
      if (sender.status < 300) return resolve(sender.responseText ? JSON.parse(sender.responseText) : null);
      reject(await failure(new Response(sender.response, { status: sender.status, statusText: sender.statusText })));
    };
    sender.send(body);
  });
}

/** Follow server-sent events. The browser reconnects by itself and sends the id of the last event it received. */
export function follow(path, { message, end = null, open = null, lost = null }) {
  let source, timer, closed = false, refusals = 0;
  const connect = () => {
    source = new EventSource(address(path));
    source.onopen = () => { refusals = 0; open && open(); };
    source.onmessage = (event) => message(event.data);
    if (end) source.addEventListener("end", (event) => { close(); end(event.data); });
    source.onerror = () => {
      lost && lost(source.readyState === EventSource.CLOSED);
      // The service refused the request, maybe because it is shutting down. Retry; for a single job, give up after
      // five refusals, because the service does not know the job.
      const refused = source.readyState === EventSource.CLOSED;
      if (refused && !closed && (lost || ++refusals < 5)) timer = setTimeout(connect, 2000);
    };
  };
  const close = () => { closed = true; clearTimeout(timer); source.close(); };
  connect();
  return close;
}
