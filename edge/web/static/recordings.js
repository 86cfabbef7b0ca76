// What is recorded of a camera: a line of time with its events, and a player that goes along it.

import { address, ask, onChange, Problem } from "./api.js";
import { findMidnight, makeHours, makeMarks } from "./events.js";
import { formatCount, formatMoment, formatSpan, formatTime, make, say } from "./dom.js";

const DAY_S = 86400;
const SPANS = [[DAY_S, "Day"], [21600, "6 hours"], [3600, "Hour"]];
const FIRST_S = 8; // is there soon
const PIECE_S = 30; // the next ones are loaded while one plays
const STEP_S = 10;
const REFRESH_MS = 15000;
const MARKS = 500;

/** Plays recordings piece after piece. `ontime(unix)` tells where it is, `onend(problem)` that it is over,
    `onnothing(unix)` that nothing can be played from there, `onpiece(hasSound)` that a piece begins. */
class Playback {
  constructor(video, camera, { ontime, onend, onnothing, onpiece }) {
    Object.assign(this, { video, camera, onend, onnothing, onpiece, turn: 0, began: null, url: null, aborter: null, next: null });
    video.addEventListener("timeupdate", () => { if (this.began !== null) ontime(this.began + video.currentTime); });
    video.addEventListener("ended", () => this.goOn());
    video.addEventListener("error", () => {
      if (!this.url) return;
      this.stop();
      onend("This browser does not play the camera's video: export it, and play it with another program.");
    });
  }

  /** Plays from a Unix time, or what comes after it. */
  async play(at) {
    this.stop();
    const turn = this.turn;
    this.aborter = new AbortController();
    try {
      const piece = await this.load(at, FIRST_S);
      if (turn !== this.turn) { if (piece) URL.revokeObjectURL(piece.url); return; }
      if (piece) this.show(piece);
      else this.onnothing(at);
    } catch (error) { if (turn === this.turn) this.onend(error.message); }
  }

  async load(at, seconds) {
    const name = encodeURIComponent(this.camera);
    const { recordings } = await ask(`/cameras/${name}/recordings?from=${at}&to=${at + DAY_S}`);
    const stretch = recordings.find(({ ended_s: ended }) => ended > at + 0.1);
    if (!stretch) return null;
    const from = Math.max(at, stretch.began_s);
    const to = Math.min(from + seconds, stretch.ended_s);
    const answer = await fetch(address(`/cameras/${name}/clip.mp4?from=${from}&to=${to}`),
      { signal: this.aborter.signal });
    if (answer.status === 404) return null; // the latest is not written yet
    if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => null));
    const blob = await answer.blob();
    const header = await blob.slice(0, 8192).text();
    const told = header.match(/began_s=([\d.]+)/); // at a key frame before
    const hasSound = header.includes("soun"); // the handler of such a track (ISO/IEC 14496-12)
    return { url: URL.createObjectURL(blob), from, to, began: told ? Number(told[1]) : from, hasSound };
  }

  show({ url, from, to, began, hasSound }) {
    const { video } = this;
    this.onpiece(hasSound);
    if (this.url) URL.revokeObjectURL(this.url);
    Object.assign(this, { url, began: null });
    video.src = url;
    video.addEventListener("loadedmetadata", () => {
      if (url !== this.url) return;
      this.began = began;
      video.currentTime = Math.max(from - began, 0);
    }, { once: true });
    video.play().catch(() => {});
    this.next = this.load(to, PIECE_S);
    this.next.catch(() => {});
  }

  async goOn() {
    const turn = this.turn;
    this.began = null;
    try {
      const piece = await this.next;
      if (turn !== this.turn) return;
      if (piece) this.show(piece);
      else this.onend("This is the end of what is recorded.");
    } catch (error) { if (turn === this.turn) this.onend(error.message); }
  }

  stop() {
    this.turn += 1;
    this.aborter?.abort();
    this.next?.then((piece) => piece && piece.url !== this.url && URL.revokeObjectURL(piece.url)).catch(() => {});
    Object.assign(this, { began: null, next: null });
    this.video.pause();
  }

  close() {
    this.stop();
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
    this.video.removeAttribute("src");
    this.video.load();
  }
}

/** The line of a camera; `onplay()` is called when something of it is shown, `onlive()` when no longer. */
export const makeRecorded = async (camera, aspect, onplay, onlive) => {
  const { kept } = await ask(`/cameras/${encodeURIComponent(camera)}/recordings?from=0&to=1`);
  if (!kept) return [null, () => {}];
  let [begin, span, recordings, events, isPlaying] = [findMidnight(Date.now() / 1000), DAY_S, [], [], false];
  const video = make("video", { playsInline: true, class: "screen", "aria-label": `Camera ${camera}, recorded` });
  video.style.setProperty("--aspect", aspect);
  const clock = make("p", { class: "state" });
  const sound = make("input", { type: "checkbox", onchange: () => { video.muted = !sound.checked; } });
  const soundLabel = make("label", { hidden: true }, sound, "Sound");
  video.muted = true;
  const pause = make("button", { onclick: () => (video.paused ? video.play().catch(() => {}) : video.pause()) }, "Pause");
  for (const kind of ["play", "pause"]) video.addEventListener(kind, () => { pause.textContent = video.paused ? "Play" : "Pause"; });
  const player = make("div", { class: "replay", hidden: true }, video, clock, make("div", { class: "controls" }, pause,
    make("button", { class: "quiet", onclick: () => move(-STEP_S) }, `${STEP_S} s back`),
    make("button", { class: "quiet", onclick: () => move(STEP_S) }, `${STEP_S} s forward`),
    soundLabel,
    make("button", { class: "quiet", onclick: () => goLive() }, "Back to live")));
  const date = make("input", { type: "date", onchange: () => { if (date.value) setWindow(new Date(`${date.value}T00:00:00`) / 1000, span); } });
  const spans = make("select", { onchange: () => {
    const to = Number(spans.value);
    setWindow(to === DAY_S ? findMidnight(slider.value) : Math.floor((slider.value - to / 2) / 600) * 600, to);
  } }, SPANS.map(([value, text]) => make("option", { value }, text)));
  const line = make("div", { class: "line", "aria-hidden": "true", onclick: ({ clientX }) => {
    const box = line.getBoundingClientRect();
    play(begin + span * (clientX - box.left) / box.width);
  } });
  const hours = make("div", { class: "hours", "aria-hidden": "true" });
  const slider = make("input", { type: "range", class: "time", step: 1, "aria-label": `Time of the recording of ${camera}`,
    oninput: () => tell(), onchange: () => play(Number(slider.value)) });
  const summary = make("p", { class: "hint", role: "status" });
  const node = make("div", { class: "recorded" }, make("h3", {}, "Recorded"), player,
    make("div", { class: "controls" }, make("label", {}, "Day", date), make("label", {}, "Shown", spans),
      make("button", { class: "quiet", onclick: () => setWindow(begin - span, span) }, "Earlier"),
      make("button", { class: "quiet", onclick: () => setWindow(begin + span, span) }, "Later"),
      make("button", { class: "quiet", onclick: () => jump(-1) }, "Previous event"),
      make("button", { class: "quiet", onclick: () => jump(1) }, "Next event")),
    make("div", { class: "day" }, line, slider, hours), summary);

  const playback = new Playback(video, camera, {
    ontime(at) {
      if (document.activeElement !== slider) slider.value = at;
      clock.textContent = formatMoment(at);
      showCursor(at);
    },
    onend: (problem) => say(problem),
    onnothing(at) {
      const isOngoing = events.some((event) => event.ended_s === null && event.began_s - 1 <= at);
      say(isOngoing ? "This event is still going on, and none of its video is written yet." : "Nothing was recorded then.");
    },
    onpiece: (hasSound) => { soundLabel.hidden = !hasSound; },
  });
  const cursor = make("span", { class: "cursor", hidden: true });
  const showCursor = (at) => {
    cursor.style.left = `${100 * (at - begin) / span}%`;
    cursor.hidden = !isPlaying || at < begin || at > begin + span;
  };
  const now = () => {
    if (!isPlaying) return Date.now() / 1000; // live
    return playback.began === null ? Number(slider.value) : playback.began + video.currentTime;
  };
  const tell = () => {
    const at = Number(slider.value);
    const isThere = recordings.some((each) => each.began_s <= at && at < each.ended_s);
    slider.setAttribute("aria-valuetext", `${formatTime(at)}, ${isThere ? "recorded" : "not recorded"}`);
  };
  const play = (at) => {
    if (!isPlaying) { isPlaying = true; player.hidden = false; onplay(); }
    slider.value = at;
    tell();
    clock.textContent = formatMoment(at);
    showCursor(at);
    return playback.play(at);
  };
  const goLive = () => { isPlaying = false; player.hidden = cursor.hidden = true; playback.close(); onlive(); };
  const move = (step) => play(now() + step);
  const jump = (way) => {
    const others = events.map((event) => event.began_s).filter((at) => way * (at - now()) > 1).sort((a, b) => way * (a - b));
    if (others.length) play(others[0]);
    else say(way > 0 ? "No later event is shown." : "No earlier event is shown.");
  };
  const show = () => {
    const stretches = recordings.map(({ began_s: began, ended_s: ended }) => {
      const stretch = make("span", { class: "stretch", title: `${formatTime(began)} to ${formatTime(ended)}` });
      stretch.style.left = `${100 * (began - begin) / span}%`;
      stretch.style.width = `max(${100 * (ended - began) / span}%, 1px)`;
      return stretch;
    });
    line.replaceChildren(...stretches, ...makeMarks(events, begin, span, "span"), cursor);
    const lasts = recordings.reduce((sum, each) => sum + each.ended_s - each.began_s, 0);
    summary.textContent = lasts ? `${formatSpan(lasts)} recorded, ${formatCount(events.length, "event")}` : "Nothing is recorded of this time.";
    if (!isPlaying && document.activeElement !== slider) slider.value = now(); // in a window that is over, its end
    tell();
  };
  const load = async () => {
    const name = encodeURIComponent(camera);
    const [from, to] = [begin, begin + span];
    const [kept, page] = await Promise.all([
      ask(`/cameras/${name}/recordings?from=${from}&to=${to}`),
      ask(`/events?camera=${name}&after=${from}&before=${to}&limit=${MARKS}`),
    ]);
    if (from !== begin || to !== begin + span) return;
    [recordings, events] = [kept.recordings, page.events];
    show();
  };
  const reload = () => load().catch((error) => say(error.message, true));
  const frame = (from, lasts) => {
    [begin, span] = [from, lasts];
    const at = Math.min(Math.max(now(), begin), begin + span - 1);
    Object.assign(slider, { min: begin, max: begin + span - 1, value: at });
    spans.value = span;
    const local = new Date(begin * 1000);
    date.value = [local.getFullYear(), local.getMonth() + 1, local.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
    hours.replaceChildren(...makeHours(begin, span));
  };
  const setWindow = (from, lasts) => { frame(from, lasts); reload(); };
  Object.assign(slider, { min: 0, max: 1e11, value: Date.now() / 1000 });
  frame(begin, span);
  await load();
  const timer = setInterval(() => { if (!document.hidden && Date.now() / 1000 < begin + span) load().catch(() => {}); }, REFRESH_MS);
  const stop = onChange((kind, event) => { if (kind === "reset" || (kind !== "camera" && event.camera === camera)) load().catch(() => {}); });
  return [node, () => { clearInterval(timer); stop(); playback.close(); }];
};
