// The page: four places, each one click away.

import { ask, followChanges, may, readSession, session } from "./api.js";
import { dropProblem, find, make, say, showEmpty } from "./dom.js";

const VIEWS = {
  live: ["Live", () => import("./live.js")],
  events: ["Events", () => import("./events.js")],
  people: ["People", () => import("./people.js")],
  health: ["Health", () => import("./health.js")],
  places: ["Zones and lines", () => import("./places.js")],
};
let leave = () => {};
let shown = 0;
let isAway = false; // the node

const show = async () => {
  const [path] = location.hash.split("?");
  const [, name = "live", ...rest] = path.split("/");
  const place = name in VIEWS ? name : "live";
  const [title, load] = VIEWS[place];
  const turn = ++shown;
  for (const link of find("places").querySelectorAll("a")) {
    const isHere = link.hash === `#/${place === "places" ? "live" : place}`;
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  leave();
  leave = () => {};
  if (!isAway) dropProblem();
  const main = find("main");
  try {
    const view = await load();
    const [content, end] = await view.open(rest.map(decodeURIComponent));
    if (turn !== shown) { end?.(); return; }
    leave = end || (() => {});
    main.replaceChildren(content);
  } catch (error) {
    if (turn !== shown) return;
    main.replaceChildren(showEmpty("This cannot be shown", error.message));
  }
  document.title = `${title} – ${session.node} – Edgewatch`;
  scrollTo(0, 0);
  const isFirst = turn === 1; // whoever begins with Tab meets the places first
  if (!isFirst && document.activeElement === document.body) main.focus({ preventScroll: true });
};

const showLogin = () => {
  const form = make("form", { class: "login", onsubmit: (submitted) => {
    submitted.preventDefault();
    const { user, password } = Object.fromEntries(new FormData(form));
    ask("/session", { method: "POST", body: { user, password } }).then(begin)
      .catch((error) => say(error.message, true));
  } },
    make("h2", {}, "Log in"),
    make("label", {}, "Name", make("input", { name: "user", autocomplete: "username", required: true })),
    make("label", {}, "Password",
      make("input", { name: "password", type: "password", autocomplete: "current-password", required: true })),
    make("button", {}, "Log in"),
  );
  find("main").replaceChildren(form);
  form.elements.user.focus();
};

const begin = async () => {
  say("");
  const invitation = location.hash.match(/^#token=(.+)$/);
  if (invitation) {
    history.replaceState(null, "", location.pathname);
    await ask("/session", { method: "POST", body: { token: invitation[1] } });
  }
  await readSession();
  find("leave").hidden = !session.login || session.role === null;
  find("places").hidden = session.role === null;
  if (session.role === null) { showLogin(); return; }
  for (const link of find("places").querySelectorAll("[data-role]")) {
    link.hidden = !may(link.dataset.role);
  }
  const { node, recognizes } = await ask("/health");
  session.recognizes = recognizes;
  find("node").textContent = session.node = node;
  followChanges((isOnline) => {
    if (!isOnline) say("The node does not answer. It is asked again.", true);
    else if (isAway) dropProblem();
    isAway = !isOnline;
  });
  for (const kind of ["click", "change", "submit"]) addEventListener(kind, () => { if (!isAway) dropProblem(); }, true);
  addEventListener("hashchange", show);
  await show();
};

find("leave").addEventListener("click", () => {
  ask("/session", { method: "DELETE" }).finally(() => location.reload());
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names what is shown
  find("main").focus();
});
begin().catch((error) => { say(error.message, true); if (session.role === null) showLogin(); });
