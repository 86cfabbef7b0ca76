// The editor of zones, lines and masks: drawn on the camera's picture, checked, saved and read.

import { address, ask, may } from "./api.js";
import { describeMistakes, draw, make, say, showEmpty } from "./dom.js";

const KINDS = { zones: "Zone", lines: "Line", masks: "Mask", motion_masks: "Motion mask" };
const STEP = 0.005; // of the picture, by an arrow key
const [CORNER_PX, TOUCH_PX] = [7, 20];
const NEW_POLYGON = [[0.35, 0.35], [0.65, 0.35], [0.65, 0.65], [0.35, 0.65]];

export const open = async ([camera]) => {
  if (!may("admin")) return [showEmpty("Zones and lines are drawn by an admin", "Ask whoever runs this node."), null];
  const path = `/cameras/${encodeURIComponent(camera)}`;
  const editor = new Editor(camera, path, await ask(`${path}/places`), await ask(path));
  return [editor.node, () => editor.close()];
};

class Editor {
  constructor(camera, path, { places, revision }, { size_wh: [width, height], aspect }) {
    Object.assign(this, { camera, path, places, revision, selected: null });
    this.aspect = aspect || (width && height ? width / height : 16 / 9);
    this.picture = make("img", { alt: "", src: address(`${path}/latest.jpg?t=${Date.now()}`) });
    this.svg = draw("svg", { preserveAspectRatio: "none", role: "group", "aria-label": "Zones, lines and masks" });
    this.stage = make("div", { class: "stage editor" }, this.picture, this.svg);
    this.stage.style.setProperty("--aspect", this.aspect);
    this.svg.setAttribute("viewBox", `0 0 ${this.aspect} 1`); // so that a circle is one
    this.list = make("ul", { class: "shapes" });
    this.answer = make("pre", { class: "answer", role: "status" });
    this.svg.addEventListener("pointerdown", (event) => { if (event.target === this.svg) this.select(null); });
    const add = (kind) => make("button", { class: "quiet add", onclick: () => this.add(kind) }, `Add a ${KINDS[kind].toLowerCase()}`);
    this.node = make("section", { class: "camera" },
      make("h2", {}, `Zones and lines of ${camera}`), this.stage,
      make("p", { class: "hint" }, "Choose a shape, then drag it or its corners; arrow keys move a corner. A double click on an edge adds a corner, as does Insert; Delete removes one. An object counts as being where the middle of its lower edge is."),
      make("div", { class: "controls" }, Object.keys(KINDS).map(add)),
      this.list,
      make("div", { class: "controls" },
        make("button", { class: "quiet", onclick: () => this.send(true) }, "Show what changes"),
        make("button", { onclick: () => this.send(false) }, "Save"),
        make("a", { href: `#/live/${encodeURIComponent(camera)}` }, "Back to the picture")),
      this.answer);
    this.show();
    this.sizes = new ResizeObserver(() => this.drawShapes()); // corners are as large on a phone
    this.sizes.observe(this.svg);
  }

  close() {
    this.sizes.disconnect();
    this.picture.removeAttribute("src");
  }

  *shapes() {
    for (const kind of Object.keys(KINDS)) {
      for (const [row, shape] of this.places[kind].entries()) yield { kind, row, shape, points: this.pointsOf(kind, row) };
    }
  }

  pointsOf(kind, row) {
    const shape = this.places[kind][row];
    if (kind === "zones") return shape.polygon;
    return kind === "lines" ? [shape.a, shape.b] : shape;
  }

  setPoints(kind, row, points) {
    this.answer.textContent = ""; // it was about the shapes before
    const shapes = this.places[kind];
    if (kind === "zones") shapes[row] = { ...shapes[row], polygon: points };
    else if (kind === "lines") shapes[row] = { ...shapes[row], a: points[0], b: points[1] };
    else shapes[row] = points;
  }

  add(kind) {
    const names = new Set([...this.places.zones, ...this.places.lines].map(({ name }) => name));
    let number = 1;
    while (names.has(`${kind.slice(0, -1)}-${number}`)) number += 1;
    const name = `${kind.slice(0, -1)}-${number}`;
    const common = { name, labels: [], margin: null, debounce_s: null };
    const shape = { zones: { ...common, polygon: NEW_POLYGON, dwell_s: null }, lines: { ...common, a: [0.3, 0.5], b: [0.7, 0.5] } }[kind] || NEW_POLYGON;
    this.places = { ...this.places, [kind]: [...this.places[kind], structuredClone(shape)] };
    this.answer.textContent = "";
    this.select({ kind, row: this.places[kind].length - 1 });
    this.focusCorner(0);
  }

  remove(kind, row) {
    this.places = { ...this.places, [kind]: this.places[kind].filter((_, other) => other !== row) };
    this.answer.textContent = "";
    this.select(null);
    this.node.querySelector(".add").focus();
  }

  select(selected) { this.selected = selected; this.show(); }

  focusCorner(corner) { this.svg.querySelectorAll(".corner")[corner]?.focus(); }

  isSelected({ kind, row }) { return this.selected?.kind === kind && this.selected.row === row; }

  show() {
    this.drawShapes();
    this.list.replaceChildren(...[...this.shapes()].map((shape) => this.makeItem(shape)));
  }

  drawShapes() {
    this.svg.replaceChildren(...[...this.shapes()].flatMap((shape) => this.drawShape(shape)));
  }

  drawShape({ kind, row, shape, points }) {
    const isLine = kind === "lines";
    const places = points.map(([x, y]) => [x * this.aspect, y]);
    const pixel = 1 / (this.svg.clientHeight || 500);
    const path = draw("path", {
      d: `M${places.map((place) => place.join(",")).join("L")}${isLine ? "" : "Z"}`,
      class: `shape ${kind}${this.isSelected({ kind, row }) ? " selected" : ""}`, "vector-effect": "non-scaling-stroke",
      onpointerdown: (event) => this.drag(event, kind, row, null),
      ondblclick: (event) => { if (!isLine) this.insert(event, kind, row); },
    });
    const [x, y] = places[0];
    const name = draw("text", { x: x + 10 * pixel, y: y - 10 * pixel, "font-size": 14 * pixel, "stroke-width": 4 * pixel }, shape.name || "");
    if (!this.isSelected({ kind, row })) return [path, name];
    const corners = places.flatMap(([cx, cy], corner) => [
      draw("circle", { cx, cy, r: TOUCH_PX * pixel, class: "reach", onpointerdown: (event) => this.drag(event, kind, row, corner) }),
      draw("circle", {
        cx, cy, r: CORNER_PX * pixel, class: "corner", tabindex: 0, role: "button", "vector-effect": "non-scaling-stroke",
        "aria-label": `Corner ${corner + 1} of ${points.length} of ${KINDS[kind].toLowerCase()} ${shape.name || row + 1}`,
        onpointerdown: (event) => this.drag(event, kind, row, corner),
        onkeydown: (event) => this.nudge(event, kind, row, corner),
      })]);
    return [path, name, ...corners];
  }

  makeItem({ kind, row, shape }) {
    const isSelected = this.isSelected({ kind, row });
    const choose = make("button", { class: "quiet", "aria-pressed": String(isSelected), onclick: () => {
      this.select({ kind, row });
      this.list.querySelector(".selected button").focus();
    } }, `${KINDS[kind]} ${shape.name || row + 1}`);
    const item = make("li", { class: isSelected ? "selected" : "" }, choose);
    if (this.isSelected({ kind, row })) {
      const change = (key, value) => { this.answer.textContent = ""; this.places[kind][row] = { ...this.places[kind][row], [key]: value }; };
      if (shape.name !== undefined) {
        item.append(
          make("label", {}, "Name", make("input", { value: shape.name, pattern: "[A-Za-z0-9_\\-]{1,64}", onchange: ({ target }) => {
            change("name", target.value);
            choose.textContent = `${KINDS[kind]} ${target.value}`;
            this.drawShapes(); // the list stays, and the focus in it
          } })),
          make("label", {}, "Classes", make("input", { value: shape.labels.join(", "), placeholder: "all",
            onchange: ({ target }) => change("labels", target.value.split(",").map((word) => word.trim()).filter(Boolean)) })));
      }
      if (kind === "zones") {
        item.append(make("label", {}, "Dwells after", make("input", { type: "number", min: 0, step: 1, value: shape.dwell_s || "", placeholder: "off",
          onchange: ({ target }) => change("dwell_s", Number(target.value)) }), "s"));
      }
      if (kind === "lines") item.append(make("button", { class: "quiet", onclick: () => { const { a, b } = this.places[kind][row]; change("a", b); change("b", a); this.drawShapes(); } }, "Reverse"));
      item.append(make("button", { class: "quiet", onclick: () => this.remove(kind, row) }, "Remove"));
    }
    return item;
  }

  placeOf({ clientX, clientY }) {
    const { left, top, width, height } = this.svg.getBoundingClientRect();
    return [clamp((clientX - left) / width), clamp((clientY - top) / height)];
  }

  drag(event, kind, row, corner) {
    event.preventDefault();
    if (!this.isSelected({ kind, row })) this.selected = { kind, row };
    const [begin, points] = [this.placeOf(event), this.pointsOf(kind, row)];
    const move = (moved) => {
      const [x, y] = this.placeOf(moved);
      this.setPoints(kind, row, points.map((point, n) => {
        if (corner === null) return [clamp(point[0] + x - begin[0]), clamp(point[1] + y - begin[1])];
        return n === corner ? [x, y] : point;
      }));
      this.drawShapes();
    };
    const end = () => {
      for (const [kind, take] of [["pointermove", move], ["pointerup", end], ["pointercancel", end]]) removeEventListener(kind, take);
      this.focusCorner(corner ?? 0);
    };
    for (const [kind, take] of [["pointermove", move], ["pointerup", end], ["pointercancel", end]]) addEventListener(kind, take);
    this.show();
  }

  nudge(event, kind, row, corner) {
    const points = this.pointsOf(kind, row);
    const step = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (step) this.setPoints(kind, row, points.map(([x, y], n) => (n === corner ? [clamp(x + step[0]), clamp(y + step[1])] : [x, y])));
    else if (event.key === "Delete" && kind !== "lines" && points.length > 3) this.setPoints(kind, row, points.filter((_, n) => n !== corner));
    else if (event.key === "Insert" && kind !== "lines") {
      const [[x, y], [toX, toY]] = [points[corner], points[(corner + 1) % points.length]];
      this.setPoints(kind, row, points.toSpliced(corner + 1, 0, [clamp((x + toX) / 2), clamp((y + toY) / 2)]));
    } else return;
    event.preventDefault();
    this.drawShapes();
    this.focusCorner(Math.min(corner, this.pointsOf(kind, row).length - 1));
  }

  insert(event, kind, row) {
    const points = this.pointsOf(kind, row);
    const at = this.placeOf(event);
    const after = points.map((point, n) => [distance(at, point, points[(n + 1) % points.length]), n]).sort((a, b) => a[0] - b[0])[0][1];
    this.setPoints(kind, row, [...points.slice(0, after + 1), at, ...points.slice(after + 1)]);
    this.select({ kind, row });
  }

  async send(isDry) {
    try {
      const check = await ask(`${this.path}/places${isDry ? "?dry=true" : ""}`, { method: "PUT", body: this.places, match: this.revision });
      this.answer.textContent = describeMistakes(check.mistakes) || check.difference || "Nothing differs.";
      if (check.mistakes.length || isDry) return;
      ({ places: this.places, revision: this.revision } = await ask(`${this.path}/places`));
      this.answer.textContent = "";
      say("Saved. The node reads it now.");
      this.show();
    } catch (error) {
      this.answer.textContent = describeMistakes(error.mistakes || []);
      say(error.status === 412 ? "The configuration was changed in the meantime: open this again." : error.message, true);
    }
  }
}

const clamp = (value) => Math.round(Math.min(Math.max(value, 0), 1) * 10000) / 10000;

/** How far a point is from a stretch between two others. */
const distance = ([x, y], [ax, ay], [bx, by]) => {
  const [dx, dy] = [bx - ax, by - ay];
  const share = Math.min(Math.max(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1), 0), 1);
  return Math.hypot(x - ax - share * dx, y - ay - share * dy);
};
