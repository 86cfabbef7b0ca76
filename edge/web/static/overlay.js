// Boxes, zones and lines over a picture.

const LINE = 2;

/** What is known of a place, of one state or of several labels: ["gate: open"]. */
export const describeValues = (place, values) => Object.entries(values)
  .filter(([name]) => name === place || name.startsWith(`${place}.`)).map((entry) => entry.join(": "));

/** Draws in the pixels of a canvas as large as the picture is shown. */
export class Overlay {
  constructor(canvas) {
    this.canvas = canvas;
    this.style = getComputedStyle(canvas);
  }

  /** Clears it and fits it to where it is shown. */
  begin() {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale].map(Math.round);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = this.context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    context.lineWidth = LINE * scale;
    context.font = `${13 * scale}px system-ui, sans-serif`;
    this.scale = scale;
    return context;
  }

  drawPlaces({ zones, lines, states = [] }, values = {}) {
    const { context, canvas } = this;
    const place = ([x, y]) => [x * canvas.width, y * canvas.height];
    context.strokeStyle = this.style.getPropertyValue("--zone");
    context.fillStyle = context.strokeStyle;
    const said = states.map(({ name, polygon }) => ({ polygon, name: describeValues(name, values).join(", ") || name }));
    for (const { name, polygon } of [...zones, ...said]) {
      context.beginPath();
      polygon.map(place).forEach((point) => context.lineTo(...point));
      context.closePath();
      context.stroke();
      this.write(name, ...place(polygon[0]));
    }
    for (const { name, a, b } of lines) {
      context.beginPath();
      context.moveTo(...place(a));
      context.lineTo(...place(b));
      context.stroke();
      this.write(name, ...place(a));
    }
  }

  drawObjects(objects, [width, height]) {
    const { context, canvas } = this;
    const [scaleX, scaleY] = [canvas.width / width, canvas.height / height];
    context.strokeStyle = context.fillStyle = this.style.getPropertyValue("--box");
    for (const { label, name, attributes = {}, xyxy: [x1, y1, x2, y2] } of objects) {
      context.strokeRect(x1 * scaleX, y1 * scaleY, (x2 - x1) * scaleX, (y2 - y1) * scaleY);
      const said = Object.entries(attributes).map((entry) => entry.join(": "));
      this.write([name || label, ...said].join(", "), x1 * scaleX, y1 * scaleY);
    }
  }

  write(text, x, y) {
    const { context, scale } = this;
    const [color, height] = [context.fillStyle, 17 * scale];
    const width = context.measureText(text).width + 8 * scale;
    const top = Math.max(y - height, 0);
    context.fillRect(x, top, width, height);
    context.fillStyle = "#000";
    context.fillText(text, x + 4 * scale, top + 13 * scale);
    context.fillStyle = color;
  }
}

/** What is found, by the time at which it was captured. */
export class FoundObjects {
  constructor() { this.frames = []; }

  add(frame) {
    this.frames.push(frame);
    if (this.frames.length > 200) this.frames.splice(0, 100);
  }

  /** What was there at a Unix time: as found, or between two looks on the way from one to the other. */
  at(captured) {
    const next = this.frames.findIndex((frame) => frame.captured_s >= captured - 0.005);
    const after = next < 0 ? null : this.frames[next];
    const before = next < 0 ? this.frames.at(-1) : this.frames[next - 1];
    if (after && Math.abs(after.captured_s - captured) <= 0.005) return after;
    if (!before || captured - before.captured_s > 1.5) return null;
    if (!after) return before;
    const share = (captured - before.captured_s) / (after.captured_s - before.captured_s);
    const later = new Map(after.objects.map((object) => [object.track, object]));
    const objects = before.objects.map((object) => {
      const other = later.get(object.track);
      return other ? { ...object, xyxy: object.xyxy.map((v, n) => v + share * (other.xyxy[n] - v)) } : object;
    });
    return { ...before, objects };
  }
}
