// The node's API: one function to ask, one feed of changes for all views.

const PREFIX = "/api/v1";
const RETRY_MS = 3000;
const ROLES = ["viewer", "enroller", "admin"];

/** Who is asking; `role` is null before the login. `node` is its name, `recognizes`: whether it names people. */
export const session = { user: "", role: null, login: false, node: "", recognizes: false };

/** Whether who is asking may do what a role may. */
export const may = (role) => ROLES.indexOf(session.role) >= ROLES.indexOf(role);

/** The address of something that a browser loads on its own. */
export const address = (path) => PREFIX + path;

export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail || `the node answers ${status}`);
    this.status = status;
    this.mistakes = body?.mistakes || [];
  }
}

/** Asks the node; the body of its answer. Raises a Problem, or a TypeError if it is away. */
export const ask = async (path, { method = "GET", body, type = "application/json", match } = {}) => {
  const headers = {};
  if (body !== undefined) headers["content-type"] = type;
  if (match !== undefined) headers["if-match"] = match;
  const answer = await fetch(PREFIX + path, {
    method, headers, body: body === undefined || type !== "application/json" ? body : JSON.stringify(body),
  });
  const content = answer.headers.get("content-type") || "";
  const parsed = content.includes("json") ? await answer.json() : null;
  if (answer.status === 401 && !path.startsWith("/session")) location.reload();
  if (!answer.ok) throw new Problem(answer.status, parsed);
  return parsed;
};

/** Reads who is asking. */
export const readSession = async () => Object.assign(session, await ask("/session"));

const listeners = new Set();

/** Calls `take(kind, subject)` with every change until the returned function is called. */
export const onChange = (take) => {
  listeners.add(take);
  return () => listeners.delete(take);
};

const tell = (kind, subject) => { for (const take of [...listeners]) take(kind, subject); };

/** Follows what happens, for as long as the page is open; shows the login once the session is gone. */
export const followChanges = (setOnline, wasAway = false) => {
  const source = new EventSource(address("/changes"));
  for (const kind of ["begun", "updated", "ended", "deleted", "camera", "reset"]) {
    source.addEventListener(kind, ({ data }) => tell(kind, JSON.parse(data)));
  }
  source.addEventListener("open", () => {
    setOnline(true);
    if (wasAway) tell("reset", {});
  });
  source.addEventListener("error", async () => {
    setOnline(false);
    if (source.readyState !== EventSource.CLOSED) return; // the browser connects again by itself
    await new Promise((done) => setTimeout(done, RETRY_MS));
    await readSession().catch(() => {});
    if (session.role === null) location.reload();
    else followChanges(setOnline, true);
  });
};
