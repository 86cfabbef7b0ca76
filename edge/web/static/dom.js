// Elements from plain values. Text is always text: nothing that comes from the node becomes markup.

/** An element: `make("a", {href: "#/live", class: "tile", onclick: go}, "Live", child)`. */
export const make = (tag, properties = {}, ...children) => {
  const node = document.createElement(tag);
  apply(node, properties);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
};

/** The same for SVG. */
export const draw = (tag, properties = {}, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  apply(node, properties);
  node.append(...children);
  return node;
};

const apply = (node, properties) => {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && !(node instanceof SVGElement) && name !== "list") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
};

/** A table whose cells know the title of their column, for narrow screens: rows of a heading and cells. */
export const makeTable = (titles, rows) => make("div", { class: "table" }, make("table", {},
  make("thead", {}, make("tr", {}, titles.map((title) => make(title ? "th" : "td", title ? { scope: "col" } : {}, title)))),
  make("tbody", {}, rows.map(({ heading, cells, isBad }) => make("tr", { class: isBad ? "bad" : "" },
    make("th", { scope: "row" }, heading),
    cells.map((cell, column) => make("td", { "data-title": titles[column + 1] }, cell)))))));

export const find = (id) => document.getElementById(id);

/** Says something to everybody, screen readers included; empty takes it away. */
export const say = (text, isProblem = false) => {
  const notice = find("notice");
  notice.textContent = text;
  notice.className = isProblem ? "problem" : "";
  notice.hidden = !text;
  clearTimeout(say.timer);
  if (text && !isProblem) say.timer = setTimeout(() => say(""), 6000);
};

/** Takes a problem away that was said; whatever is done next may mend it. */
export const dropProblem = () => { if (find("notice").className === "problem") say(""); };

/** Mistakes of a configuration, a line each. */
export const describeMistakes = (mistakes) => mistakes
  .map(({ line, key, problem }) => `${line ? `line ${line}: ` : ""}${key ? `${key}: ` : ""}${problem}`).join("\n");

/** What is shown where there is nothing to show: what is missing, and what to do next. */
export const showEmpty = (title, ...hints) =>
  make("div", { class: "empty" }, make("h2", {}, title), hints.map((hint) => make("p", {}, hint)));

const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export const formatDay = (unix) => DAY.format(unix * 1000);
export const formatTime = (unix) => TIME.format(unix * 1000);
export const formatMoment = (unix) => FULL.format(unix * 1000);

export const formatSpan = (seconds) => {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`; // two at least
};

/** "1 event", "2 events". */
export const formatCount = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

export const formatBytes = (bytes) => {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = bytes;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) { size /= 1000; unit += 1; }
  return `${size >= 100 || unit === 0 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
};
