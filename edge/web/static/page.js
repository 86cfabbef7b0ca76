// The cameras' stills and the events: the least page that shows what the API gives.
const api = async (path, options = {}) => {
  const answer = await fetch(`/api/v1${path}`, options);
  const body = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.detail), { status: answer.status });
  return body;
};
const find = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};
const send = (method, body) => ({
  method,
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
});

const describe = (event) => {
  const when = new Date(event.began_s * 1000).toLocaleString();
  const who = event.people.map((person) => person.name).join(", ");
  const words = `${when} ${event.camera}: ${event.triggers.join(", ")} ${who}`;
  const row = make("li", { id: `event-${event.id}` });
  if (event.files.includes("thumbnail")) {
    row.append(make("img", { src: `/api/v1/events/${event.id}/thumbnail.jpg`, alt: "" }), " ");
  }
  if (event.files.includes("clip")) {
    row.append(make("a", { href: `/api/v1/events/${event.id}/clip.mp4` }, words));
  } else row.append(words);
  return row;
};

const showEvent = (event) => {
  const known = find(`event-${event.id}`);
  if (known) known.replaceWith(describe(event));
  else find("events").prepend(describe(event));
};

const showEvents = async () => {
  const { events } = await api("/events?limit=20");
  find("events").replaceChildren(...events.map(describe));
};

const showCameras = async () => {
  const { cameras } = await api("/cameras");
  find("cameras").replaceChildren(...cameras.map((camera) => make(
    "figure", {},
    make("img", { alt: `Camera ${camera.name}`, id: `still-${camera.name}` }),
    make("figcaption", {}, `${camera.name} (${camera.state || "starting"})`),
  )));
  const refresh = () => cameras.forEach(({ name }) => {
    const still = find(`still-${name}`);
    if (still) still.src = `/api/v1/cameras/${name}/latest.jpg?boxes=1&height=360&t=${Date.now()}`;
  });
  refresh();
  clearInterval(showCameras.timer);
  showCameras.timer = setInterval(refresh, 1000);
};

const begin = async () => {
  const invitation = location.hash.match(/^#token=(.+)$/);
  if (invitation) {
    history.replaceState(null, "", location.pathname);
    await api("/session", send("POST", { token: invitation[1] }));
  }
  const session = await api("/session");
  find("login").hidden = session.role !== null;
  if (session.role === null) return;
  await Promise.allSettled([showCameras(), showEvents()]);
  const changes = new EventSource("/api/v1/changes");
  for (const kind of ["begun", "updated", "ended"]) {
    changes.addEventListener(kind, ({ data }) => showEvent(JSON.parse(data)));
  }
  for (const kind of ["camera", "reset"]) changes.addEventListener(kind, showCameras);
};
const say = (error) => { find("state").textContent = error.message; };

find("login").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const { user, password } = Object.fromEntries(new FormData(submitted.target));
  api("/session", send("POST", { user, password })).then(begin).catch(say);
});
begin().catch(say);
