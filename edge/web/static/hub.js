// The fleet: every box, what it runs, and why not.

import { find, formatSpan, make, makeTable, say, showEmpty } from "./dom.js";

const REFRESH_MS = 2000;
const TITLES = ["Box", "State", "Revision", "Version", "Heard", "Problem"];
const WITH_PEOPLE = [...TITLES, "People"];

const makeRow = (box, hasPeople) => ({
  heading: box.name,
  cells: [
    box.state,
    box.revision ? `${box.revision} ${(box.outcome || "").replace("_", " ")}` : "nothing yet",
    box.version,
    `${formatSpan(box.heard_s)} ago`,
    box.problem,
    ...(hasPeople ? [box.people] : []),
  ],
  isBad: box.state !== "ready" || Boolean(box.problem) || box.owes,
});

const describeSum = (ill, all) => {
  if (ill) return `${ill} of ${all} ${ill === 1 ? "needs" : "need"} attention`;
  return all === 1 ? "The box is well" : `All ${all} boxes are well`;
};

const show = async () => {
  const answer = await fetch("/api/v1/boxes", { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`the hub answers with ${answer.status}`);
  const { boxes, problem } = await answer.json();
  say(problem, Boolean(problem));
  const hasPeople = boxes.some((box) => box.people);
  const rows = boxes.map((box) => makeRow(box, hasPeople));
  const ill = rows.filter(({ isBad }) => isBad);
  find("summary").replaceChildren(make("div", { class: ill.length || problem ? "summary bad" : "summary good" },
    make("p", { class: "verdict" }, describeSum(ill.length, rows.length))));
  // those that need somebody come first
  const table = [...ill, ...rows.filter(({ isBad }) => !isBad)];
  find("boxes").replaceChildren(rows.length
    ? makeTable(hasPeople ? WITH_PEOPLE : TITLES, table)
    : showEmpty("No box has joined", "Run edge fleet join on a box."));
};

const refresh = () => show().catch(() => say("The hub cannot be reached.", true));
await refresh();
setInterval(() => { if (!document.hidden) refresh(); }, REFRESH_MS);
