// People: who is enrolled; enrolled from a photo, and forgotten.

import { ask, session } from "./api.js";
import { formatMoment, make, say, showEmpty } from "./dom.js";

const MAX_PHOTO_BYTES = 10_000_000;

export const open = async () => {
  const view = make("section", { class: "people" });
  const show = async () => {
    if (!session.recognizes) {
      view.replaceChildren(showEmpty("Nobody is recognized on this node",
        "Faces are recognized where the configuration has [recognition]: a gallery, and its key."));
      return;
    }
    const { people } = await ask("/people");
    view.replaceChildren(make("h2", {}, "People"), makeTable(people, show), makeForm(show));
  };
  await show();
  return [view, null];
};

const makeTable = (people, show) => {
  if (!people.length) return showEmpty("Nobody is enrolled yet", "Choose a photo with one face below, or open an event with a face.");
  const row = ({ person, name, templates, enrolled_s: since, until, state }) => make("tr", {},
    make("th", { scope: "row" }, name),
    make("td", {}, String(templates)),
    make("td", {}, formatMoment(since)),
    make("td", {}, until || "for good"),
    make("td", {}, state),
    make("td", {},
      make("a", { href: `#/events?person=${encodeURIComponent(person)}` }, "Events"), " ",
      make("button", { class: "quiet", onclick: () => forget(person, name, show) }, "Forget")));
  return make("div", { class: "table" }, make("table", {},
    make("thead", {}, make("tr", {}, ["Name", "Looks", "Enrolled", "Kept until", "State", ""].map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, people.map(row))));
};

const forget = (person, name, show) => {
  if (!confirm(`Forget ${name}? All that is stored about them is destroyed, here and in events.`)) return;
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

