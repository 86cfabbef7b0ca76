"""What the README and the tutorials tell a reader to type works, in that order.

All shell blocks of a page run as one script in a folder of their own. What a reader would wait for
or stop by hand has a stand-in, and files of the reader's are small ones of ours.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md"))]
SLOW = {"first-model"}  # trains
STAND_INS = [
    (r"^make demo.*$", "make --assume-old=.venv/runtime.stamp demo DEMO='--seconds 3'"),
    (r"^(edge run \S+)$", r"\1 2>daemon.log & wait_until_ready"),
    (r"^edge watch$", "watch_until_online"),
    (r"^(edge watch --json \| grep)", r"timeout 100 \1 --max-count 1"),
    (r"^(python subscriber.py)$", r"(timeout 5 \1 || true) | tee events.txt; test -s events.txt"),
    (r"^(edge-train detector .*)$", r"\1 --epochs 1"),
]
PRELUDE = """
set -euo pipefail
trap 'jobs -p | xargs -r kill' EXIT
wait_until_ready() {
    for _ in $(seq 120); do
        if curl -sf http://127.0.0.1:9470/readyz >/dev/null; then return; fi
        sleep 0.5
    done
    cat daemon.log
    return 1
}
watch_until_online() {
    local patience_s
    for patience_s in 6 12 24; do  # on a busy machine the command takes seconds to start
        timeout --signal INT $patience_s edge watch | tee watch.txt || true
        if grep -q online watch.txt; then return; fi
    done
    return 1
}
"""


def script_of(page):
    """The shell blocks of a page with their stand-ins."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    lines = "".join(blocks).replace("\\\n", " ")
    for pattern, stand_in in STAND_INS:
        lines = re.sub(pattern, stand_in, lines, flags=re.MULTILINE)
    return PRELUDE + lines


@pytest.fixture
def desk(tmp_path, shared_data):
    """A clone, as far as commands can tell, with the reader's files beside it."""
    for path in ROOT.iterdir():
        if path.name not in (".git", "build", "runs"):
            (tmp_path / path.name).symlink_to(path)
    people = shared_data / "gallery_video"
    photo = cv2.imread(str(people / "lin-manuel-miranda.png"))
    cv2.imwrite(str(tmp_path / "ann1.jpg"), photo)
    cv2.imwrite(str(tmp_path / "ann2.jpg"), cv2.convertScaleAbs(photo, alpha=0.9, beta=8))
    shutil.copy(people / "short_hamilton_clip.mp4", tmp_path / "clip.mp4")
    for folder, suffix in (("images", ".jpg"), ("annotations", ".xml")):
        (tmp_path / "my-data" / folder).mkdir(parents=True)
        for path in sorted((shared_data / "raccoon" / folder).glob(f"*{suffix}"))[:12]:
            shutil.copy(path, tmp_path / "my-data" / folder)
    page = (ROOT / "docs" / "tutorials" / "first-model.md").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(re.search(r"^```toml\n(.*?)^```", page, re.M | re.S)[1])
    return tmp_path


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * (page.stem in SLOW))
        for page in PAGES
    ],
)
def test_the_commands_of_a_page_work_in_their_order(page, desk, default_ports):
    environ = os.environ | {
        "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    with (desk / "script.sh").open("w") as script:
        script.write(script_of(page))
    done = subprocess.run(
        ["bash", "script.sh"], cwd=desk, env=environ, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
