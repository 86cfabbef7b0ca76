// The live wall: a still a second of each camera; one click, and a camera's own video.

import { address, ask, may, onChange } from "./api.js";
import { describeWhat } from "./events.js";
import { formatSpan, make, showEmpty } from "./dom.js";
import { describeValues, FoundObjects, Overlay } from "./overlay.js";
import { ENDED, Player } from "./player.js";
import { makeRecorded } from "./recordings.js";

const STILL_MS = 1000;
const PAUSES = 4; // stills that are left out after one that did not come
const RETRY_MS = 3000;

export const open = ([name]) => (name ? openCamera(name) : openWall());

const describe = ({ state, reason, since_s: since }) => {
  if (state === "online" || !state) return "";
  return `${state}: ${reason}${since ? `, for ${formatSpan(Date.now() / 1000 - since)}` : ""}`;
};

const describeStates = ({ places, states }) => places
  .map(({ name }) => describeValues(name, states).join(", ") || `${name}: undecided`).join("; ");

const shape = ({ size_wh: [width, height], aspect }) => (aspect || (width && height ? width / height : 16 / 9));

const openWall = async () => {
  const [{ cameras }, { events }] = await Promise.all([
    ask("/cameras"), ask("/events?severity=alert&limit=50").catch(() => ({ events: [] })),
  ]);
  const wall = make("div", { class: "wall" });
  const tiles = new Map(cameras.map((camera) => [camera.name, makeTile(camera)]));
  wall.append(...[...tiles.values()].map((tile) => tile.node));
  if (!cameras.length) {
    return [showEmpty("No camera is watched", "Add a camera to the configuration. The command edge setup asks for its address, tries it, and writes the file.")];
  }
  const refresh = () => { if (!document.hidden) tiles.forEach((tile) => tile.refresh()); };
  const timer = setInterval(refresh, STILL_MS);
  const stop = onChange(async (kind, subject) => {
    if (kind === "camera") tiles.get(subject.camera)?.show({ ...subject, name: subject.camera });
    else if (kind === "reset") for (const camera of (await ask("/cameras")).cameras) tiles.get(camera.name)?.show(camera);
    else tiles.get(subject.camera)?.mark(subject);
  });
  for (const event of events) tiles.get(event.camera)?.mark(event);
  queueMicrotask(refresh);
  return [make("section", {}, make("h2", { class: "hidden" }, "Cameras"), wall), () => { clearInterval(timer); stop(); }];
};

const makeTile = (camera) => {
  const still = make("img", { alt: `Camera ${camera.name}, latest picture`, class: "still", hidden: true });
  const state = make("span", { class: "state" });
  const frame = make("span", { class: "frame" }, still);
  const node = make("a", { class: "tile", href: `#/live/${encodeURIComponent(camera.name)}` }, frame,
    make("span", { class: "name" }, camera.name), state);
  let [busy, pauses, problem] = [false, 0, ""];
  const alerts = new Map(); // that are going on
  const tell = () => {
    state.textContent = problem || [...alerts.values()].join("; ");
    node.classList.toggle("alert", alerts.size > 0);
  };
  const tile = {
    node,
    show(now) {
      problem = describe(now);
      node.classList.toggle("away", Boolean(problem));
      if (now.size_wh[0] || !frame.style.aspectRatio) frame.style.aspectRatio = shape({ aspect: camera.aspect, ...now });
      pauses = 0;
      tell();
    },
    mark(event) {
      if (event.severity === "alert" && event.ended_s === null) alerts.set(event.id, describeWhat(event));
      else alerts.delete(event.id);
      tell();
    },
    async refresh() {
      if (busy || pauses-- > 0) return;
      busy = true;
      const next = new Image();
      const width = node.clientWidth * (devicePixelRatio || 1);
      next.src = address(`/cameras/${encodeURIComponent(camera.name)}/latest.jpg?boxes=true`
        + `&height=${Math.min(Math.max(Math.round(width / shape(camera)), 120), 1080)}&t=${Date.now()}`);
      try {
        await next.decode();
        still.src = next.src;
        still.hidden = false;
      } catch { pauses = PAUSES; } finally { busy = false; } // its state says what is wrong
    },
  };
  tile.show(camera);
  return tile;
};

const openCamera = async (name) => {
  const camera = await ask(`/cameras/${encodeURIComponent(name)}`);
  const places = await ask(`/cameras/${encodeURIComponent(name)}/places`).then((answer) => answer.places)
    .catch(() => ({ zones: [], lines: [] }));
  const video = make("video", { muted: true, playsInline: true, autoplay: true, "aria-label": `Camera ${name}, live` });
  const nothing = make("p", { class: "nothing", hidden: true }, "No picture");
  const canvas = make("canvas", { "aria-hidden": "true" });
  const stage = make("div", { class: "stage" }, video, canvas, nothing);
  const fit = (aspect) => stage.style.setProperty("--aspect", aspect);
  fit(shape(camera));
  video.addEventListener("resize", () => {
    if (video.videoWidth) fit(camera.aspect || video.videoWidth / video.videoHeight);
  });
  const state = make("p", { class: "state", role: "status" }, describe(camera));
  const hidden = make("p", { class: "hint", hidden: !camera.hide.length });
  const tellHidden = () => {
    hidden.textContent = isLive
      ? `Each ${camera.hide.join(" and ")} is made unrecognizable, so this shows pictures instead of the camera's video. Recorded video is not changed.`
      : `This is the camera's own video, as it was recorded: no ${camera.hide.join(" or ")} is hidden in it.`;
  };
  const said = make("p", { class: "hint", role: "status", hidden: !camera.places.length }, describeStates(camera));
  const boxes = make("input", { type: "checkbox", checked: true });
  const controls = make("div", { class: "controls" },
    make("a", { href: "#/live" }, "All cameras"),
    make("label", {}, boxes, "Boxes and zones"),
    make("a", { href: `#/events?camera=${encodeURIComponent(name)}` }, "Events"),
    may("admin") ? make("a", { href: `#/places/${encodeURIComponent(name)}` }, "Zones and lines") : null,
    make("button", { class: "quiet", onclick: () => stage.requestFullscreen?.() }, "Full screen"));
  const view = make("section", { class: "camera" }, make("h2", {}, name), stage, state, said, hidden, controls);

  const found = new FoundObjects();
  const overlay = new Overlay(canvas);
  let [isOpen, isLive, player, objects, retry, painting] = [true, true, null, null, 0, 0];
  const paint = (_, frame) => {
    if (!isOpen || !isLive || !player) return;
    painting = video.requestVideoFrameCallback(paint);
    const captured = player.capturedAt(frame.mediaTime);
    overlay.begin();
    const seen = boxes.checked && captured !== null ? found.at(captured) : null;
    if (boxes.checked) overlay.drawPlaces({ ...places, states: camera.places }, seen?.states);
    if (seen) overlay.drawObjects(seen.objects, seen.size_wh);
    // for tests and curious people: what is on the screen now
    Object.assign(stage.dataset, { captured: captured ?? "", objects: seen?.captured_s ?? "" });
  };
  const source = () => address(`/cameras/${encodeURIComponent(name)}/live.mjpeg?boxes=${boxes.checked}&t=${Date.now()}`);
  const showPictures = async () => {
    player = null;
    const isThere = await fetch(address(`/cameras/${encodeURIComponent(name)}/latest.jpg?height=16`))
      .then((answer) => answer.ok).catch(() => false);
    if (!isOpen || !isLive || player) return;
    nothing.hidden = isThere;
    if (!isThere) { again(); return; }
    stage.replaceChildren(make("img", { alt: `Camera ${name}, live`, class: "still", src: source(), onerror: again }), nothing);
  };
  const again = () => { clearTimeout(retry); retry = setTimeout(() => isOpen && isLive && play(), RETRY_MS); };
  boxes.addEventListener("change", () => {
    const still = stage.querySelector("img");
    if (still) still.src = source();
  });
  const play = () => {
    if (painting) video.cancelVideoFrameCallback(painting);
    player?.close();
    objects?.close();
    objects = new EventSource(address(`/cameras/${encodeURIComponent(name)}/objects`));
    objects.addEventListener("objects", ({ data }) => {
      const frame = JSON.parse(data);
      found.add(frame);
      const states = describeStates({ places: camera.places, states: frame.states });
      if (states !== said.textContent) said.textContent = states; // else it would be read out again
    });
    if (!camera.live || !globalThis.MediaSource || camera.hide.length) { showPictures(); return; }
    let hasPlayed = false;
    stage.replaceChildren(video, canvas, nothing);
    player = new Player(video, name, (problem) => {
      if (!isOpen || !isLive) return;
      if (hasPlayed && problem === ENDED) again(); // another connection of the camera, or of the node
      else showPictures();
    });
    video.addEventListener("playing", () => { hasPlayed = nothing.hidden = true; }, { once: true });
    painting = video.requestVideoFrameCallback?.(paint);
  };
  const pauseLive = () => {
    isLive = false;
    tellHidden();
    stage.hidden = true;
    player?.close();
    player = null;
    objects.close();
    view.querySelector("img")?.removeAttribute("src");
  };
  const goLive = () => { isLive = true; stage.hidden = false; tellHidden(); play(); };
  tellHidden();
  play();
  let leaveRecorded = () => {};
  makeRecorded(name, shape(camera), pauseLive, goLive).then(([recorded, leave]) => {
    if (!isOpen) { leave(); return; }
    leaveRecorded = leave;
    if (recorded) view.append(recorded);
  }).catch(() => {}); // the node went away
  const stop = onChange((kind, subject) => {
    if (kind === "camera" && subject.camera === name) state.textContent = describe(subject);
    const isBack = kind === "camera" && subject.camera === name && subject.state === "online" && !player;
    if (kind === "reset" || isBack) again(); // the node was away, and its streams ended
  });
  return [view, () => {
    isOpen = false;
    clearTimeout(retry);
    player?.close();
    objects.close();
    leaveRecorded();
    stop();
    view.querySelector("img")?.removeAttribute("src"); // or its stream goes on
  }];
};

