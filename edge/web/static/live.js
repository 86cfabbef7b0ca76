// The live wall: a still a second of each camera; one click, and a camera's own video.

import { address, ask, may, onChange } from "./api.js";
import { formatSpan, make, showEmpty } from "./dom.js";
import { FoundObjects, Overlay } from "./overlay.js";
import { Player } from "./player.js";

const STILL_MS = 1000;

export const open = ([name]) => (name ? openCamera(name) : openWall());

const describe = ({ state, reason, since_s: since }) => {
  if (state === "online" || !state) return "";
  return `${state}: ${reason}${since ? `, for ${formatSpan(Date.now() / 1000 - since)}` : ""}`;
};

const shape = ({ size_wh: [width, height], aspect }) => (aspect || (width && height ? width / height : 16 / 9));

const openWall = async () => {
  const { cameras } = await ask("/cameras");
  const wall = make("div", { class: "wall" });
  const tiles = new Map(cameras.map((camera) => [camera.name, makeTile(camera)]));
  wall.append(...[...tiles.values()].map((tile) => tile.node));
  if (!cameras.length) {
    return [showEmpty("No camera is watched", "Add one to the configuration, and the node shows it here.")];
  }
  const refresh = () => { if (!document.hidden) tiles.forEach((tile) => tile.refresh()); };
  const timer = setInterval(refresh, STILL_MS);
  const stop = onChange(async (kind, subject) => {
    if (kind === "camera") tiles.get(subject.camera)?.show({ ...subject, name: subject.camera });
    else if (kind === "reset") for (const camera of (await ask("/cameras")).cameras) tiles.get(camera.name)?.show(camera);
    else tiles.get(subject.camera)?.mark(kind !== "ended" && subject.severity === "alert");
  });
  queueMicrotask(refresh);
  return [wall, () => { clearInterval(timer); stop(); }];
};

const makeTile = (camera) => {
  const still = make("img", { alt: `Camera ${camera.name}, latest picture`, class: "still", hidden: true });
  const state = make("span", { class: "state" });
  const node = make("a", { class: "tile", href: `#/live/${encodeURIComponent(camera.name)}` },
    make("span", { class: "frame" }, still), make("span", { class: "name" }, camera.name), state);
  let busy = false;
  const tile = {
    node,
    show(now) {
      state.textContent = describe(now);
      node.classList.toggle("away", Boolean(now.state) && now.state !== "online");
      node.querySelector(".frame").style.aspectRatio = shape(now);
    },
    mark(wants) { node.classList.toggle("alert", wants); },
    async refresh() {
      if (busy) return;
      busy = true;
      const next = new Image();
      const width = node.clientWidth * (devicePixelRatio || 1);
      next.src = address(`/cameras/${encodeURIComponent(camera.name)}/latest.jpg?boxes=true`
        + `&height=${Math.min(Math.max(Math.round(width / shape(camera)), 120), 1080)}&t=${Date.now()}`);
      try {
        await next.decode();
        still.src = next.src;
        still.hidden = false;
      } catch { /* it is away, and its state says so */ } finally { busy = false; }
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
  const canvas = make("canvas", { "aria-hidden": "true" });
  const stage = make("div", { class: "stage" }, video, canvas);
  const fit = (aspect) => stage.style.setProperty("--aspect", aspect);
  fit(shape(camera));
  video.addEventListener("resize", () => {
    if (video.videoWidth) fit(camera.aspect || video.videoWidth / video.videoHeight);
  });
  const state = make("p", { class: "state", role: "status" }, describe(camera));
  const hidden = camera.hide.length ? make("p", { class: "hint" },
    `Each ${camera.hide.join(" and ")} is made unrecognizable, so this shows pictures instead of the camera's video.`) : null;
  const boxes = make("input", { type: "checkbox", checked: true });
  const controls = make("div", { class: "controls" },
    make("a", { href: "#/live" }, "All cameras"),
    make("label", {}, boxes, "Boxes and zones"),
    make("a", { href: `#/events?camera=${encodeURIComponent(name)}` }, "Events"),
    may("admin") ? make("a", { href: `#/places/${encodeURIComponent(name)}` }, "Zones and lines") : null,
    make("button", { class: "quiet", onclick: () => stage.requestFullscreen?.() }, "Full screen"));
  const view = make("section", { class: "camera" }, make("h2", {}, name), stage, state, hidden, controls);

  const found = new FoundObjects();
  const overlay = new Overlay(canvas);
  const objects = new EventSource(address(`/cameras/${encodeURIComponent(name)}/objects`));
  objects.addEventListener("objects", ({ data }) => found.add(JSON.parse(data)));
  let isOpen = true;
  const paint = (_, frame) => {
    if (!isOpen || !player) return;
    video.requestVideoFrameCallback(paint);
    const captured = player.capturedAt(frame.mediaTime);
    overlay.begin();
    const seen = boxes.checked && captured !== null ? found.at(captured) : null;
    if (boxes.checked) overlay.drawPlaces(places);
    if (seen) overlay.drawObjects(seen.objects, seen.size_wh);
    // for tests and curious people: what is on the screen now
    Object.assign(stage.dataset, { captured: captured ?? "", objects: seen?.captured_s ?? "" });
  };
  const showPictures = () => {
    player = null;
    const still = make("img", { alt: `Camera ${name}, live`, class: "still" });
    const source = () => address(`/cameras/${encodeURIComponent(name)}/live.mjpeg?boxes=${boxes.checked}`);
    still.src = source();
    boxes.addEventListener("change", () => { still.src = source(); });
    stage.replaceChildren(still);
  };
  let player = null;
  const play = () => {
    player = new Player(video, name, (problem) => {
      if (!isOpen) return;
      if (problem === "the stream ended" && video.currentTime) setTimeout(() => isOpen && play(), 1000);
      else showPictures();
    });
    video.requestVideoFrameCallback?.(paint);
  };
  if (camera.live && globalThis.MediaSource && !camera.hide.length) play();
  else showPictures();
  const stop = onChange((kind, subject) => {
    if (kind === "camera" && subject.camera === name) state.textContent = describe(subject);
  });
  return [view, () => { isOpen = false; player?.close(); objects.close(); stop(); view.querySelector("img")?.removeAttribute("src"); }];
};

