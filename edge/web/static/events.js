// Events: a day as a line, a list with pictures, and one of them with its clip.

import { address, ask, may, onChange, session } from "./api.js";
import { formatDay, formatMoment, formatSpan, formatTime, make, say, showEmpty } from "./dom.js";

const PAGE = 50;
const DAY_S = 86400;

export const open = async ([id], query = readQuery()) => {
  if (id && !id.startsWith("?")) return openEvent(id);
  return openList(query);
};

const readQuery = () => new URLSearchParams(location.hash.split("?")[1] || "");

export const describeWhat = ({ triggers, labels, people }) => {
  const who = people.map(({ name }) => name || "forgotten person");
  const what = who.length ? who : labels.length ? labels : ["camera"];
  const words = triggers.filter((trigger) => !["began", "known"].includes(trigger))
    .map((trigger) => trigger.replace(":", " ").replace("offline", "shows nothing"));
  return `${what.join(", ")}${words.length ? ` ${words.join(", ")}` : ""}`;
};

const openList = async (query) => {
  const [{ cameras }, people] = await Promise.all([
    ask("/cameras"), may("enroller") && session.recognizes ? ask("/people").then((answer) => answer.people).catch(() => []) : [],
  ]);
  const list = make("ol", { class: "events" });
  const more = make("button", { class: "quiet", hidden: true }, "Earlier");
  const day = make("div", { class: "day" });
  const filters = makeFilters(query, cameras, people);
  let next = "";
  let known = new Map();

  const wanted = () => {
    const parameters = new URLSearchParams();
    for (const [name, value] of new FormData(filters)) {
      if (!value) continue;
      if (name === "date") {
        const begin = new Date(`${value}T00:00:00`).getTime() / 1000;
        parameters.set("after", begin);
        parameters.set("before", begin + DAY_S);
      } else parameters.set(name, value);
    }
    return parameters;
  };
  const fits = (event) => {
    const values = wanted();
    const among = (name, words) => !values.get(name) || words.includes(values.get(name));
    return among("camera", [event.camera]) && among("label", event.labels) && among("severity", [event.severity])
      && among("person", event.people.map(({ person }) => person)) && among("seen", [String(event.seen)])
      && (!values.get("after") || (event.began_s >= values.get("after") && event.began_s < values.get("before")));
  };
  const showDay = () => day.replaceChildren(...makeDay([...known.values()], wanted()));
  const load = async () => {
    const parameters = wanted();
    parameters.set("limit", PAGE);
    if (next) parameters.set("cursor", next);
    const page = await ask(`/events?${parameters}`);
    for (const event of page.events) { known.set(event.id, event); list.append(makeRow(event)); }
    next = page.next;
    more.hidden = !next;
    addDays(list);
    showDay();
    if (!known.size) list.replaceChildren(make("li", { class: "none" }, makeNone(wanted())));
  };
  const reload = () => { known = new Map(); next = ""; list.replaceChildren(); return load(); };
  filters.addEventListener("change", () => {
    const values = new URLSearchParams([...new FormData(filters)].filter(([, value]) => value));
    history.replaceState(null, "", `#/events?${values}`);
    reload().catch((error) => say(error.message, true));
  });
  filters.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => load().catch((error) => say(error.message, true)));
  const stop = onChange((kind, event) => {
    if (kind === "reset") { reload(); return; }
    if (kind === "camera" || !fits(event)) return;
    const isNew = !known.has(event.id);
    known.set(event.id, event);
    const row = makeRow(event);
    const old = list.querySelector(`[data-event="${CSS.escape(event.id)}"]`);
    list.querySelector(".none")?.remove();
    if (old) old.replaceWith(row);
    else if (isNew) list.prepend(row);
    addDays(list);
    showDay();
  });
  await load();
  return [make("section", { class: "log" }, make("h2", { class: "hidden" }, "Events"), filters, day, list, more), stop];
};

const makeNone = (filter) => (filter.toString()
  ? showEmpty("No such event", "Take a filter away, or choose another day.")
  : showEmpty("Nothing has happened yet",
    "An event appears here as soon as a rule of a camera applies: [[cameras.events]] in the configuration.",
    "Pictures and clips are kept where it has [storage]."));

const choose = (name, label, options, value) => make("label", {}, label,
  make("select", { name }, options.map(([key, text]) => make("option", { value: key, selected: key === value }, text))));

const makeFilters = (query, cameras, people) => make("form", { class: "filters", "aria-label": "Filters" },
  choose("camera", "Camera", [["", "All"], ...cameras.map(({ name }) => [name, name])], query.get("camera")),
  make("label", {}, "Class", make("input", { name: "label", value: query.get("label") || "", placeholder: "Any", size: 8 })),
  choose("severity", "Severity", [["", "All"], ["alert", "Alerts"], ["detection", "Detections"]], query.get("severity")),
  people.length ? choose("person", "Person", [["", "All"], ...people.map((p) => [p.person, p.name])], query.get("person")) : null,
  choose("seen", "Seen", [["", "All"], ["false", "Not seen"], ["true", "Seen"]], query.get("seen")),
  make("label", {}, "Day", make("input", { name: "date", type: "date", value: query.get("date") || "" })));

/** A day as a line on which events are marks; alerts in the accent colour. */
const makeDay = (events, filter) => {
  if (!events.length) return [];
  const newest = Math.max(...events.map((event) => event.began_s));
  const midnight = new Date((filter.get("after") ?? newest) * 1000);
  midnight.setHours(0, 0, 0, 0);
  const begin = midnight.getTime() / 1000;
  const marks = events.filter((event) => event.began_s >= begin && event.began_s < begin + DAY_S).map((event) => {
    const left = 100 * (event.began_s - begin) / DAY_S;
    const width = 100 * ((event.ended_s ?? Date.now() / 1000) - event.began_s) / DAY_S;
    const mark = make("a", {
      class: `mark ${event.severity}`, href: `#/events/${event.id}`, tabIndex: -1,
      title: `${formatTime(event.began_s)} ${event.camera}: ${describeWhat(event)}`,
    });
    mark.style.left = `${left}%`;
    mark.style.width = `max(${width}%, 3px)`;
    return mark;
  });
  const hours = [0, 6, 12, 18].map((hour) => {
    const label = make("span", {}, `${String(hour).padStart(2, "0")}:00`);
    label.style.left = `${hour / 0.24}%`;
    return label;
  });
  return [make("div", { class: "line", "aria-hidden": "true" }, marks), make("div", { class: "hours", "aria-hidden": "true" }, hours)];
};

const addDays = (list) => {
  for (const old of list.querySelectorAll(".date")) old.remove();
  let last = "";
  for (const row of [...list.querySelectorAll("[data-began]")]) {
    const date = formatDay(Number(row.dataset.began));
    if (date !== last) row.before(make("li", { class: "date" }, date));
    last = date;
  }
};

const makePicture = (event, kind, alt) => (event.files.includes(kind)
  ? make("img", { src: address(`/events/${event.id}/${kind}.jpg`), alt, loading: "lazy" })
  : make("span", { class: "nothing", "aria-hidden": "true" }));

const makeRow = (event) => {
  const lasts = event.ended_s === null ? "goes on" : formatSpan(event.ended_s - event.began_s);
  return make("li", { class: `${event.severity}${event.seen ? " seen" : ""}`, "data-event": event.id, "data-began": event.began_s },
    make("a", { href: `#/events/${event.id}` },
      makePicture(event, "thumbnail", ""),
      make("span", { class: "what" }, describeWhat(event)),
      make("span", { class: "when" }, `${formatTime(event.began_s)}, ${lasts}`),
      make("span", { class: "where" }, event.camera, event.files.includes("clip") ? make("span", { class: "clip" }, "clip") : null,
        event.severity === "alert" ? make("span", { class: "badge" }, "alert") : null)));
};

const openEvent = async (id) => {
  let event = await ask(`/events/${encodeURIComponent(id)}`);
  const view = make("section", { class: "event" });
  const show = () => view.replaceChildren(...makeEvent(event, (changed) => { event = changed; show(); }));
  show();
  if (!event.seen) {
    ask(`/events/${event.id}/seen`, { method: "PUT", body: { seen: true } })
      .then((changed) => { event = changed; show(); }).catch(() => {});
  }
  const stop = onChange((kind, subject) => {
    if (subject.id === event.id) { event = { ...subject, seen: event.seen }; show(); }
  });
  return [view, stop];
};

const makeEvent = (event, setEvent) => {
  const hasClip = event.files.includes("clip");
  const media = hasClip
    ? make("video", { controls: true, muted: true, playsInline: true, preload: "metadata", class: "clip", src: address(`/events/${event.id}/clip.mp4`),
      "aria-label": "Clip of the event", poster: event.files.includes("snapshot") ? address(`/events/${event.id}/snapshot.jpg`) : "" })
    : event.files.includes("snapshot")
      ? make("img", { class: "still", src: address(`/events/${event.id}/snapshot.jpg?boxes=true&t=${event.best?.captured_s ?? ""}`), alt: "Picture of the event" })
      : showEmpty("No picture of it is kept", "The configuration has no [storage], or the picture was older than it keeps.");
  const setSeen = (seen) => ask(`/events/${event.id}/seen`, { method: "PUT", body: { seen } }).then(setEvent)
    .catch((error) => say(error.message, true));
  const facts = [
    ["Camera", make("a", { href: `#/live/${encodeURIComponent(event.camera)}` }, event.camera)],
    ["Began", formatMoment(event.began_s)],
    ["Lasted", event.ended_s === null ? "goes on" : formatSpan(event.ended_s - event.began_s)],
    ["What", describeWhat(event)],
    ["Triggers", event.triggers.join(", ")],
    ["Severity", event.severity],
    ["Id", event.id],
  ];
  return [
    make("a", { href: "#/events", onclick: (clicked) => { if (history.length > 1) { clicked.preventDefault(); history.back(); } } }, "All events"),
    make("h2", {}, describeWhat(event)),
    media,
    make("div", { class: "controls" },
      make("label", {}, make("input", { type: "checkbox", checked: event.seen, onchange: ({ target }) => setSeen(target.checked) }), "Seen"),
      hasClip ? make("a", { href: address(`/events/${event.id}/clip.mp4?download=true`), download: "" }, "Download the clip") : null,
      event.files.includes("snapshot")
        ? make("a", { href: address(`/events/${event.id}/snapshot.jpg`), download: `${event.id}.jpg` }, "Download the picture") : null),
    make("dl", {}, facts.flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, value)])),
    may("enroller") && session.recognizes ? makeCorrections(event, setEvent) : null,
  ].filter(Boolean);
};

/** "This is not Ann", and who it is. */
const makeCorrections = (event, setEvent) => {
  const named = event.people.filter(({ person, name }) => person && name);
  const deny = ({ person, name }) => make("button", { class: "quiet", onclick: () => {
    ask(`/people/${encodeURIComponent(person)}/denials`, { method: "POST", body: { event: event.id } })
      .then((changed) => { say(`This face is not taken for ${name} again.`); setEvent(changed); })
      .catch((error) => say(error.message, true));
  } }, `This is not ${name}`);
  const form = make("form", { class: "inline", onsubmit: (submitted) => {
    submitted.preventDefault();
    const values = new FormData(form);
    ask("/people/event", { method: "POST", body: { event: event.id, name: values.get("name"), consent: values.get("consent") === "on", until: null } })
      .then(({ name }) => { say(`${name} is enrolled with this face.`); form.reset(); })
      .catch((error) => say(error.message, true));
  } },
    make("label", {}, "This is", make("input", { name: "name", required: true, autocomplete: "off", maxLength: 100 })),
    make("label", {}, make("input", { type: "checkbox", name: "consent", required: true }), "They agreed to be enrolled"),
    make("button", {}, "Enroll this face"));
  const canEnroll = event.files.includes("snapshot") && event.labels.includes("person");
  if (!named.length && !canEnroll) return null;
  return make("div", { class: "corrections" }, make("h3", {}, "Who it is"), named.map(deny), canEnroll ? form : null);
};
