// Health: whether the node does what it should, its cameras, its disk, and its configuration.

import { ask, may, onChange } from "./api.js";
import { describeMistakes, formatBytes, formatSpan, make, makeTable, say } from "./dom.js";

const REFRESH_MS = 5000;
const WORDS = {
  load_ratio: "Processor load", disk_free_bytes: "Disk, free", disk_total_bytes: "Disk, total",
  stored_clip_bytes: "Clips", stored_snapshot_bytes: "Pictures", stored_thumbnail_bytes: "Thumbnails",
  stored_continuous_bytes: "Continuous video", stored_protected_bytes: "Protected events",
  gpu_load_ratio: "GPU load", gpu_memory_used_bytes: "GPU memory, used", gpu_memory_total_bytes: "GPU memory, total",
};

export const open = async () => {
  const status = make("div", {});
  const view = make("section", { class: "health" }, make("h2", {}, "Health"), status);
  const show = async () => {
    const [health, { cameras }] = await Promise.all([ask("/health"), ask("/cameras")]);
    status.replaceChildren(makeSummary(health), makeCameras(cameras, health.cameras), makeFigures(health.figures));
  };
  await show();
  if (may("admin")) view.append(makeConfiguration());
  const timer = setInterval(() => { if (!document.hidden) show().catch(() => {}); }, REFRESH_MS);
  const stop = onChange((kind) => { if (kind === "camera") show().catch(() => {}); });
  return [view, () => { clearInterval(timer); stop(); }];
};

const makeSummary = ({ node, version, ready, problems }) => make("div", { class: ready && !problems.length ? "summary good" : "summary bad" },
  make("p", { class: "verdict" }, ready && !problems.length ? "Everything works" : "Something needs attention"),
  make("p", {}, `${node}, Edgewatch ${version}`),
  problems.length ? make("ul", {}, problems.map((problem) => make("li", {}, problem))) : null);

const TITLES = ["Camera", "State", "For", "Frames per second", "Age", "Late by", "Skipped", "Damaged", "Reconnects", "Picture"];

const formatShort = (seconds) => (seconds < 1 ? `${Math.round(1000 * seconds)} ms` : `${seconds.toFixed(1)} s`);

/** What was measured of a camera, a cell each; none where no frame was analyzed. */
const makeMeasured = (measured) => {
  if (!measured?.looked) return ["", "", "", "", ""];
  const { age_s: age, max_age_s: most, lag_s: lag, looked, dropped, damaged, reconnects } = measured;
  return [
    age === null ? "" : `${formatShort(age)}, ${formatShort(most)} at most`,
    formatShort(lag),
    `${(100 * dropped / (looked + dropped)).toFixed(1)} %`,
    String(damaged), String(reconnects),
  ];
};

const makeCameras = (cameras, measured) => makeTable(TITLES, cameras.map((camera) => ({
  heading: make("a", { href: `#/live/${encodeURIComponent(camera.name)}` }, camera.name),
  cells: [
    camera.state === "online" ? "online" : `${camera.state || "starting"}: ${camera.reason}`,
    camera.since_s ? formatSpan(Date.now() / 1000 - camera.since_s) : "",
    camera.fps.toFixed(1),
    ...makeMeasured(measured.find(({ name }) => name === camera.name)),
    camera.size_wh[0] ? camera.size_wh.join(" × ") : "",
  ],
  isBad: camera.state !== "online",
})));

const makeFigures = (figures) => make("dl", {}, Object.entries(figures).flatMap(([name, value]) => [
  make("dt", {}, WORDS[name] || name.replaceAll("_", " ")),
  make("dd", {}, name.endsWith("_bytes") ? formatBytes(value) : name.endsWith("_ratio") ? `${Math.round(100 * value)} %` : String(value)),
]));

const makeConfiguration = () => {
  const text = make("textarea", { spellcheck: false, rows: 24, "aria-label": "Configuration (TOML)",
    oninput: () => { answer.textContent = ""; } });
  const answer = make("pre", { class: "answer", role: "status" });
  let revision = "";
  const load = async () => { ({ text: text.value, revision } = await ask("/configuration")); };
  const tell = ({ mistakes, difference }) => {
    answer.textContent = describeMistakes(mistakes) || difference || "Nothing differs.";
  };
  const check = () => ask("/configuration/check", { method: "POST", body: { text: text.value } }).then(tell)
    .catch((error) => say(error.message, true));
  const save = async () => {
    try {
      const written = await ask("/configuration", { method: "PUT", body: { text: text.value }, match: revision });
      ({ text: text.value, revision } = written);
      const waiting = written.needs_restart.join(", ");
      answer.textContent = waiting && `What changed in ${waiting} cannot change while the node runs. The old values hold until it is restarted: systemctl restart edge@NODE`;
      say(waiting ? "Saved. A restart of the node is needed." : "Saved. The node reads it now.");
    } catch (error) {
      if (error.mistakes?.length) tell({ mistakes: error.mistakes });
      else say(error.status === 412 ? "The file was changed in the meantime: open it again." : error.message, true);
    }
  };
  return make("details", { ontoggle: ({ target }) => { if (target.open && !revision) load().catch((error) => say(error.message, true)); } },
    make("summary", {}, "Configuration"), text,
    make("div", { class: "controls" }, make("button", { class: "quiet", onclick: check }, "Check"), make("button", { onclick: save }, "Save")),
    answer);
};
