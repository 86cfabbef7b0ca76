// People: who is enrolled; enrolled from a photo, and forgotten.

import { ask, may, session } from "./api.js";
import { formatMoment, make, makeTable, say, showEmpty } from "./dom.js";

const MAX_PHOTO_BYTES = 10_000_000;

export const open = async () => {
  const view = make("section", { class: "people" });
  const show = async () => {
    if (!may("enroller")) {
      view.replaceChildren(showEmpty("This cannot be shown", "You may not see people: that takes the role enroller or admin."));
      return;
    }
    if (!session.recognizes) {
      view.replaceChildren(showEmpty("Nobody is recognized on this node",
        "Faces are recognized once the configuration has [recognition], which names a gallery and its key."));
      return;
    }
    const { people } = await ask("/people");
    view.replaceChildren(make("h2", {}, "People"), makeList(people, show), makeForm(show));
  };
  await show();
  return [view, null];
};

const makeList = (people, show) => {
  if (!people.length) return showEmpty("Nobody is enrolled yet", "Enroll somebody from a photo below, or open an event that shows a face.");
  return makeTable(["Name", "Faces", "Enrolled", "Kept until", "State", ""], people.map(({ person, name, templates, enrolled_s: since, until, state }) => ({
    heading: name,
    cells: [
      String(templates), formatMoment(since), until || "no end date", state,
      make("span", { class: "controls" },
        make("a", { href: `#/events?person=${encodeURIComponent(person)}` }, "Events"),
        make("button", { class: "quiet", onclick: () => forget(person, name, show) }, "Forget")),
    ],
    isBad: state !== "active",
  })));
};

const forget = (person, name, show) => {
  if (!confirm(`Forget ${name}? Everything that is stored about them is destroyed, and their name goes from all events.`)) return;
  ask(`/people/${encodeURIComponent(person)}`, { method: "DELETE" })
    .then(() => { say(`${name} is forgotten.`); return show(); })
    .catch((error) => say(error.message, true));
};

const makeForm = (show) => {
  const form = make("form", { class: "enroll", onsubmit: async (submitted) => {
    submitted.preventDefault();
    const values = new FormData(form);
    const photo = values.get("photo");
    if (photo.size > MAX_PHOTO_BYTES) { say("The photo has more than 10 MB: choose a smaller one.", true); return; }
    const query = new URLSearchParams({ name: values.get("name"), consent: values.get("consent") === "on" });
    if (values.get("until")) query.set("until", values.get("until"));
    try {
      const { name } = await ask(`/people/photo?${query}`, { method: "POST", body: photo, type: photo.type || "image/jpeg" });
      say(`${name} is enrolled.`);
      await show();
    } catch (error) { say(error.message, true); }
  } },
    make("h3", {}, "Enroll somebody"),
    make("label", {}, "Name", make("input", { name: "name", required: true, autocomplete: "off", maxLength: 100 })),
    make("label", {}, "Photo with one face", make("input", { name: "photo", type: "file", accept: "image/jpeg,image/png", required: true })),
    make("label", {}, "Keep until", make("input", { name: "until", type: "date" })),
    make("label", { class: "check" }, make("input", { type: "checkbox", name: "consent", required: true }), "They agreed to be enrolled"),
    make("button", {}, "Enroll"));
  return form;
};

