// A camera's own H.264 in a <video>: fragments from a WebSocket into Media Source Extensions.

import { address } from "./api.js";

const HEAD_BYTES = 17;
const KEY = 1;
const INITIALIZATION = 2;
const BEHIND_S = 0.5; // behind the newest fragment, so that what is found comes in time to be drawn
const LATE_S = 0.9;
const LOST_S = 2.5; // beyond it, it jumps rather than hurries
const KEPT_S = 12; // of what was played
const PAIRS = 900;

export const ENDED = "the stream ended";

/** Plays a camera's stream. `onend(problem)` is called when it cannot, with why. */
export class Player {
  constructor(video, camera, onend) {
    this.video = video;
    this.onend = onend;
    this.queue = [];
    this.clock = []; // [media seconds, Unix seconds] of the latest pictures
    this.media = null;
    this.isOver = false;
    const url = new URL(address(`/cameras/${encodeURIComponent(camera)}/live`), location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => (typeof data === "string" ? this.start(JSON.parse(data)) : this.take(data));
    this.socket.onclose = () => this.fail(ENDED);
    this.follow = () => this.keepUp();
    this.timer = setInterval(this.follow, 250);
    document.addEventListener("visibilitychange", this.follow);
  }

  start({ mime }) {
    if (!globalThis.MediaSource?.isTypeSupported(mime)) { this.fail(`this browser does not play ${mime}`); return; }
    this.queue = [];
    this.clock = [];
    this.buffer = null;
    const media = this.media = new MediaSource();
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = this.video.src = URL.createObjectURL(media);
    media.addEventListener("sourceopen", () => {
      if (media !== this.media) return;
      this.buffer = media.addSourceBuffer(mime);
      this.buffer.addEventListener("updateend", () => this.append());
      this.buffer.addEventListener("error", () => this.fail("a picture could not be decoded"));
      this.append();
    }, { once: true });
    this.video.play().catch(() => {}); // it begins when there is something to play
  }

  take(data) {
    const head = new DataView(data);
    const flags = head.getUint8(16);
    if (!(flags & INITIALIZATION)) {
      this.clock.push([head.getFloat64(8), head.getFloat64(0)]);
      if (this.clock.length > PAIRS) this.clock.splice(0, PAIRS / 2);
    }
    if (flags & KEY && this.queue.length > 200) this.queue = []; // nobody looks: begin at this one
    this.queue.push(data.slice(HEAD_BYTES));
    this.append();
  }

  append() {
    const { buffer, queue, media, video } = this;
    if (!media || !buffer || buffer.updating || media.readyState !== "open") return;
    try {
      if (queue.length) {
        const parts = queue.splice(0);
        buffer.appendBuffer(join(parts));
      } else if (buffer.buffered.length && video.currentTime - buffer.buffered.start(0) > 2 * KEPT_S) {
        buffer.remove(0, video.currentTime - KEPT_S);
      }
    } catch (error) {
      if (error.name === "QuotaExceededError") buffer.remove(0, Math.max(video.currentTime - 1, 0.1));
      else this.fail(error.message);
    }
  }

  /** Stays close to the newest picture: it hurries a little, or jumps. */
  keepUp() {
    const { video, buffer } = this;
    if (!buffer?.buffered.length || document.hidden) return;
    const ranges = buffer.buffered;
    const end = ranges.end(ranges.length - 1);
    const begin = ranges.start(ranges.length - 1);
    const behind = end - video.currentTime;
    if (behind > LOST_S || video.currentTime < begin) video.currentTime = Math.max(end - BEHIND_S, begin);
    video.playbackRate = behind > LATE_S ? 1.15 : behind < BEHIND_S / 2 ? 0.95 : 1;
    if (video.paused) video.play().catch(() => {});
  }

  /** The Unix time at which the picture of a media time was captured; null if it is not known. */
  capturedAt(media) {
    let best = null;
    for (const pair of this.clock) {
      if (best === null || Math.abs(pair[0] - media) < Math.abs(best[0] - media)) best = pair;
    }
    return best && Math.abs(best[0] - media) < 0.5 ? best[1] + (media - best[0]) : null;
  }

  fail(problem) {
    if (this.isOver) return;
    this.close();
    this.onend(problem);
  }

  close() {
    this.isOver = true;
    clearInterval(this.timer);
    document.removeEventListener("visibilitychange", this.follow);
    this.socket.onclose = null;
    this.socket.close();
    this.media = null;
    this.video.removeAttribute("src");
    this.video.load();
    if (this.url) URL.revokeObjectURL(this.url);
  }
}

const join = (parts) => {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.byteLength, 0));
  let at = 0;
  for (const part of parts) { whole.set(new Uint8Array(part), at); at += part.byteLength; }
  return whole;
};
