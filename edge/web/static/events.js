// Events: a day as a line, a list with pictures, and one of them with its clip.

import { address, ask, may, onChange, session } from "./api.js";
import { formatDay, formatMoment, formatSpan, formatTime, make, say, showEmpty } from "./dom.js";

const PAGE = 50;
let lastList = "#/events"; // with its filters
const MOST = 1000; // events that are listed
const MARKS = 500; // events of a day on its line
const DAY_S = 86400;

export const open = ([id]) => (id ? openEvent(id) : openList(readQuery()));

const readQuery = () => new URLSearchParams(location.hash.split("?")[1] || "");

const WORDS = { dwelled: "stayed at", spoof: "showed a false face", offline: "went offline" };

/** An event in a few words: "Ann and a car, entered yard". */
export const describeWhat = ({ triggers, labels, people }) => {
  const who = people.map(({ name }) => name || "forgotten person");
  if (triggers.includes("unknown")) who.push("unknown person");
  const others = who.length ? labels.filter((label) => label !== "person") : labels;
  const what = [...who, ...others].join(", ") || "camera";
  const words = triggers.filter((trigger) => !["began", "known", "unknown"].includes(trigger)).map((trigger) => {
    const [verb, place = ""] = trigger.split(/:(.*)/);
    if (["attribute", "state"].includes(verb)) return place.replace("=", ": ");
    return `${WORDS[verb] || verb} ${place}`.trim();
  });
  return [what, words.join(", ")].filter(Boolean).join(" ");
};

const formatLength = ({ began_s: began, ended_s: ended }) => (ended === null ? "ongoing" : formatSpan(ended - began));

const openList = async (query) => {
  lastList = location.hash || "#/events";
  const [{ cameras }, people] = await Promise.all([
    ask("/cameras"), may("enroller") && session.recognizes ? ask("/people").then((answer) => answer.people).catch(() => []) : [],
  ]);
  const list = make("ol", { class: "events" });
  const more = make("button", { class: "quiet", hidden: true }, "Earlier");
  const day = make("div", { class: "day" });
  const filters = makeFilters(query, cameras, people);
  let next = "";
  let [known, ofDay] = [new Map(), new Map()];
  const deleted = new Set(); // what is told of them later is not shown

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
  const showDay = () => day.replaceChildren(...makeDay([...new Map([...ofDay, ...known]).values()], wanted()));
  const loadDay = async () => {
    const parameters = wanted();
    const begin = findMidnight(parameters.get("after") ?? Math.max(...[...known.values()].map((event) => event.began_s)));
    parameters.set("after", begin);
    parameters.set("before", begin + DAY_S);
    parameters.set("limit", MARKS);
    ofDay = new Map((await ask(`/events?${parameters}`)).events.map((event) => [event.id, event]));
  };
  const load = async () => {
    const parameters = wanted();
    parameters.set("limit", PAGE);
    if (next) parameters.set("cursor", next);
    const page = await ask(`/events?${parameters}`);
    for (const event of page.events) { known.set(event.id, event); list.append(makeRow(event)); }
    next = page.next;
    more.hidden = !next;
    addDays(list);
    if (next && !ofDay.size) await loadDay();
    showDay();
    if (!known.size) list.replaceChildren(make("li", { class: "none" }, makeNone(wanted())));
  };
  const reload = () => { [known, ofDay] = [new Map(), new Map()]; next = ""; list.replaceChildren(); return load(); };
  filters.addEventListener("change", () => {
    const values = new URLSearchParams([...new FormData(filters)].filter(([, value]) => value));
    lastList = `#/events?${values}`;
    history.replaceState(null, "", lastList);
    reload().catch((error) => say(error.message, true));
  });
  filters.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => load().catch((error) => say(error.message, true)));
  const stop = onChange((kind, event) => {
    if (kind === "reset") { reload(); return; }
    if (kind === "deleted") {
      deleted.add(event.id);
      known.delete(event.id);
      ofDay.delete(event.id);
      list.querySelector(`[data-event="${CSS.escape(event.id)}"]`)?.remove();
      addDays(list);
      showDay();
      return;
    }
    if (kind === "camera" || deleted.has(event.id) || !fits(event)) return;
    const old = known.get(event.id);
    if (!old && known.size >= MOST) { reload(); return; } // a page that is open for weeks
    known.set(event.id, old ? combine(old, event) : event);
    const row = makeRow(known.get(event.id));
    list.querySelector(".none")?.remove();
    if (old) replaceRow(list.querySelector(`[data-event="${CSS.escape(event.id)}"]`), row);
    else list.prepend(row);
    addDays(list);
    showDay();
  });
  await load();
  return [make("section", { class: "log" }, make("h2", { class: "hidden" }, "Events"), filters, day, list, more), stop];
};

/** An event as it is told, with what people said of it: while it goes on, the node does not tell that. */
const combine = (old, event) => ({
  ...event, seen: event.seen || old.seen, protected: event.protected || (old.ended_s === null && old.protected),
});

const replaceRow = (old, row) => {
  const hasFocus = old.contains(document.activeElement);
  old.replaceWith(row);
  if (hasFocus) row.querySelector("a").focus();
};

const makeNone = (filter) => (filter.toString()
  ? showEmpty("No event matches", "Remove a filter, or choose another day.")
  : showEmpty("Nothing has happened yet",
    "An event appears here as soon as a camera's rule applies. Rules are the tables [[cameras.events]] of the configuration.",
    "Pictures and clips are kept once it has [storage]."));

const choose = (name, label, options, value) => make("label", {}, label,
  make("select", { name }, options.map(([key, text]) => make("option", { value: key, selected: key === value }, text))));

const makeFilters = (query, cameras, people) => make("form", { class: "filters", "aria-label": "Filters" },
  choose("camera", "Camera", [["", "Any"], ...cameras.map(({ name }) => [name, name])], query.get("camera")),
  make("label", {}, "Class", make("input", { name: "label", value: query.get("label") || "", placeholder: "Any", size: 8 })),
  choose("severity", "Severity", [["", "Any"], ["alert", "Alerts"], ["detection", "Detections"]], query.get("severity")),
  people.length ? choose("person", "Person", [["", "Any"], ...people.map((p) => [p.person, p.name])], query.get("person")) : null,
  choose("seen", "Seen", [["", "Any"], ["false", "Not yet"], ["true", "Seen"]], query.get("seen")),
  make("label", {}, "Day", make("input", { name: "date", type: "date", value: query.get("date") || "" })));

export const findMidnight = (unix) => new Date(unix * 1000).setHours(0, 0, 0, 0) / 1000;

/** A day as a line on which events are marks; alerts in the accent color. */
const makeDay = (events, filter) => {
  if (!events.length) return [];
  const newest = Math.max(...events.map((event) => event.began_s));
  const begin = findMidnight(filter.get("after") ?? newest);
  return [
    make("div", { class: "line", "aria-hidden": "true" }, makeMarks(events, begin, DAY_S, "a")),
    make("div", { class: "hours", "aria-hidden": "true" }, makeHours(begin, DAY_S)),
  ];
};

/** Events on a line of time, as links or not. */
export const makeMarks = (events, begin, span, tag) => events
  .filter((event) => event.began_s >= begin && event.began_s < begin + span).map((event) => {
    const left = 100 * (event.began_s - begin) / span;
    const width = 100 * ((event.ended_s ?? Date.now() / 1000) - event.began_s) / span;
    const mark = make(tag, {
      class: `mark ${event.severity}`, title: `${formatTime(event.began_s)} ${event.camera}: ${describeWhat(event)}`,
      ...(tag === "a" ? { href: `#/events/${event.id}`, tabIndex: -1 } : {}),
    });
    mark.style.left = `${left}%`;
    mark.style.width = `max(${width}%, 3px)`;
    return mark;
  });

/** What stands below a line of time. */
export const makeHours = (begin, span) => [0, 1, 2, 3].map((quarter) => {
  const at = new Date((begin + quarter * span / 4) * 1000);
  const label = make("span", {}, [at.getHours(), at.getMinutes()].map((part) => String(part).padStart(2, "0")).join(":"));
  label.style.left = `${25 * quarter}%`;
  return label;
});

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
  return make("li", { class: `${event.severity}${event.seen ? " seen" : ""}`, "data-event": event.id, "data-began": event.began_s },
    make("a", { href: `#/events/${event.id}` },
      makePicture(event, "thumbnail", ""),
      make("span", { class: "what" }, describeWhat(event)),
      make("span", { class: "when" }, `${formatTime(event.began_s)}, ${formatLength(event)}`),
      make("span", { class: "where" }, event.camera, event.files.includes("clip") ? make("span", { class: "clip" }, "clip") : null,
        event.protected ? make("span", {}, "protected") : null,
        event.severity === "alert" ? make("span", { class: "badge" }, "alert") : null)));
};

const makeGone = () => [
  showEmpty("This event is gone", "Somebody deleted it, it was older than what this node keeps, or it made room for newer ones."),
  make("p", { class: "back" }, make("a", { href: "#/events" }, "All events")),
];

const openEvent = async (id) => {
  const view = make("section", { class: "event" });
  const path = `/events/${encodeURIComponent(id)}`;
  let event;
  try {
    event = await ask(path);
  } catch (error) {
    if (error.status !== 404) throw error;
    return [make("section", {}, makeGone()), null];
  }
  const title = make("h2", {});
  const media = make("div", { class: "media" });
  const hidden = make("p", { class: "hint", hidden: true });
  const hides = ask(`/cameras/${encodeURIComponent(event.camera)}`).then(({ hide }) => hide).catch(() => []); // or it is gone
  const tellHidden = async () => {
    const hide = await hides;
    hidden.hidden = !hide.length || !event.files.includes("clip");
    hidden.textContent = `The clip is the camera's own video: no ${hide.join(" or ")} is hidden in it.`;
  };
  const checkbox = make("input", { type: "checkbox", onchange: () => setSeen(checkbox.checked) });
  const downloads = make("span", { class: "controls" });
  const facts = make("dl", {});
  const reasons = make("div", { class: "reasons", "aria-live": "polite" });
  const why = make("button", { class: "quiet", title: "Shows which parts of the picture the detector went by.", onclick: async () => {
    why.disabled = true;
    reasons.replaceChildren(make("p", {}, "Covering the picture part by part, for up to a minute ..."));
    try {
      reasons.replaceChildren(...makeReasons(event, await ask(`${path}/explanation`)));
    } catch (error) {
      reasons.replaceChildren();
      say(error.message, true);
    } finally {
      why.disabled = false;
    }
  } }, "Why?");
  const corrections = make("div", { class: "corrections" });
  const protect = make("button", { class: "quiet", onclick: () => {
    ask(`${path}/protected`, { method: "PUT", body: { protected: !event.protected } }).then(take)
      .catch((error) => say(error.message, true));
  } });
  const remove = make("button", { class: "quiet", onclick: () => {
    if (!confirm("Delete this event with its pictures and its clip?")) return;
    ask(path, { method: "DELETE" }).then(() => { say("The event is deleted."); location.hash = lastList; })
      .catch((error) => say(error.message, true));
  } }, "Delete");
  let [shownFiles, shownPeople] = [null, null];
  // what has not changed stays: a clip plays on, what is typed is kept, and so is the focus
  const show = () => {
    title.textContent = describeWhat(event);
    checkbox.checked = event.seen;
    protect.textContent = event.protected ? "Unprotect" : "Protect";
    protect.title = event.protected ? "" : "It stays however old it is, and however much room is wanted.";
    remove.hidden = event.protected || event.ended_s === null;
    why.hidden = !event.best || !event.files.includes("snapshot");
    facts.replaceChildren(...makeFacts(event));
    const files = event.files.join();
    if (files !== shownFiles) {
      media.replaceChildren(makeMedia(event, explain));
      downloads.replaceChildren(...makeDownloads(event));
      tellHidden();
    }
    const people = JSON.stringify([files, event.people]);
    if (people !== shownPeople && may("enroller") && session.recognizes) {
      corrections.replaceChildren(...makeCorrections(event, take));
    }
    [shownFiles, shownPeople] = [files, people];
  };
  const take = (changed) => { event = changed; show(); };
  const setSeen = (seen) => ask(`${path}/seen`, { method: "PUT", body: { seen } }).then(take)
    .catch((error) => { checkbox.checked = event.seen; say(error.message, true); });
  const explain = async () => {
    try {
      await ask(path);
      media.replaceChildren(showEmpty("This cannot be played here", "The browser does not play the camera's format, or the file is gone. Download it, and play it with another program."));
    } catch (error) {
      if (error.status === 404) view.replaceChildren(...makeGone());
    }
  };
  view.append(
    make("a", { class: "back", href: lastList }, "All events"),
    title, media, hidden,
    make("div", { class: "controls" }, make("label", {}, checkbox, "Seen"), why, downloads,
      ...(may("admin") ? [protect, remove] : [])),
    reasons, facts, corrections);
  show();
  if (!event.seen) setSeen(true);
  let isDeleted = false;
  const stop = onChange((kind, subject) => {
    if (subject.id !== event.id || isDeleted) return;
    isDeleted = kind === "deleted";
    if (isDeleted) view.replaceChildren(...makeGone());
    else take(combine(event, subject));
  });
  return [view, stop];
};

/** The clip, or the picture, or why there is neither. `explain()` is called where it cannot be shown. */
const makeMedia = (event, explain) => {
  const has = (kind) => event.files.includes(kind);
  const picture = address(`/events/${event.id}/snapshot.jpg`);
  let node;
  if (has("clip")) {
    node = make("video", { controls: true, muted: true, playsInline: true, preload: "metadata", class: "clip",
      src: address(`/events/${event.id}/clip.mp4`), "aria-label": "Clip of the event", poster: has("snapshot") ? picture : "" });
  } else if (has("snapshot")) {
    node = make("img", { class: "still", src: `${picture}?boxes=true&t=${event.best?.captured_s ?? ""}`, alt: "Picture of the event" });
  } else {
    if (event.ended_s === null) return showEmpty("There is no picture yet", "This event is still going on. What is kept of it appears here.");
    return showEmpty("No picture is kept", event.labels.length
      ? "Set storage.folder in the configuration, and pictures and clips of events are kept from then on."
      : "The camera showed nothing at that time.");
  }
  node.addEventListener("error", explain, { once: true });
  const [width, height] = event.best?.size_wh || [16, 9];
  node.style.setProperty("--aspect", width / height);
  return node;
};

/** What the detector went by: the picture, warm where covering it lowers the score, and in words. */
const makeReasons = (event, { label, score, largest_loss, inside, patches, planned }) => {
  const image = make("img", { class: "still", alt: `Picture of the event, warm where it speaks for ${label}`,
    src: address(`/events/${encodeURIComponent(event.id)}/explanation.jpg`) });
  const [width, height] = event.best.size_wh;
  image.style.setProperty("--aspect", width / height);
  const share = inside === null ? "Covering no part of it lowers that: what speaks for it is everywhere."
    : `Covering a part lowers that by up to ${Math.round(100 * largest_loss)} points; ${Math.round(100 * inside)} % of the loss lies in the box.`;
  const hint = inside !== null && inside < 0.5 ? " The detector goes by what stands around more than by what is in the box." : "";
  const rest = patches < planned ? ` Time ran out after ${patches} of ${planned} parts.` : "";
  return [image, make("p", {}, `In the picture that is kept, ${label} has a score of ${Math.round(100 * score)} %. ${share}${hint}${rest}`)];
};

const makeDownloads = ({ id, files }) => [
  files.includes("clip") ? make("a", { href: address(`/events/${id}/clip.mp4?download=true`), download: "" }, "Download the clip") : null,
  files.includes("snapshot") ? make("a", { href: address(`/events/${id}/snapshot.jpg`), download: `${id}.jpg` }, "Download the picture") : null,
].filter(Boolean);

const makeFacts = (event) => [
  ["Camera", make("a", { href: `#/live/${encodeURIComponent(event.camera)}` }, event.camera)],
  ["Began", formatMoment(event.began_s)],
  ["Lasted", formatLength(event)],
  ["Triggers", event.triggers.join(", ")],
  ["Severity", event.severity],
  ["Id", event.id],
].flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, value)]);

/** "This is not Ann", and who it is. */
const makeCorrections = (event, setEvent) => {
  const named = event.people.filter(({ person, name }) => person && name);
  const deny = ({ person, name }) => make("button", { class: "quiet", onclick: () => {
    ask(`/people/${encodeURIComponent(person)}/denials`, { method: "POST", body: { event: event.id } })
      .then((changed) => { say(`This face is no longer taken for ${name}.`); setEvent(changed); })
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
  if (!named.length && !canEnroll) return [];
  return [make("h3", {}, "Who it is"), ...named.map(deny), ...(canEnroll ? [form] : [])];
};
