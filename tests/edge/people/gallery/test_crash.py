"""The gallery under SIGKILL and on a full disk: the old one or the new one, never else."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from edge.errors import GalleryError
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.records import RecordState
from tests.support.enroller import TEMPLATES
from tests.support.gallery import EMBEDDER, KEY, faces, open_new

ALONE = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # a fork copies no threads


def names_in(path):
    """Names in a gallery, all of it checked."""
    with Gallery(path, KEY, EMBEDDER) as gallery:
        gallery.audit.verify()
        people = gallery.people()
        assert {person.state for person in people} <= {RecordState.ACTIVE}
        for person in people:
            number = int(person.name.removeprefix("p"))
            assert np.array_equal(gallery.find(person.id).own, faces(TEMPLATES, number))
        assert len(gallery.index()) == len(people)
    return {person.name for person in people}


@contextlib.contextmanager
def enroller(path):
    command = [sys.executable, "-m", "tests.support.enroller", "churn", str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=ALONE
    ) as process:
        yield process
        process.stdin.close()
        assert process.wait(10) == 0


def churn_and_kill(process, wait_s):
    """What a child said until it was killed ``wait_s`` after its first word."""
    process.stdin.write("go\n")
    process.stdin.flush()
    said, child, killed = [], 0, False
    for line in process.stdout:
        word, _, rest = line.strip().partition(" ")
        if word == "dead":
            break
        if word == "pid":
            child = int(rest)
        else:
            said.append((word, rest))
        if child and said and not killed:
            time.sleep(wait_s)
            os.kill(child, signal.SIGKILL)
            killed = True
    return said


def after(names, said):
    """What the gallery may hold: the state before and after the act that was cut short."""
    pending = None
    for word, name in said:
        if word == "done":
            names, pending = apply(names, pending), None
        else:
            pending = (word, name)
    return names, apply(names, pending)


def apply(names, act):
    if act is None:
        return names
    return names | {act[1]} if act[0] == "enroll" else names - {act[1]}


@pytest.fixture
def memory(tmp_path):
    """A folder in memory where there is one: a killed process waits for its disk."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as folder:
        yield Path(folder)


def test_a_killed_enrollment_leaves_the_old_gallery_or_the_new_one(tmp_path):
    kill_often(tmp_path / "gallery.db", 20)


@pytest.mark.slow
def test_200_kills_leave_the_old_gallery_or_the_new_one(memory):
    kill_often(memory / "gallery.db", 200)


def kill_often(path, kills):
    open_new(path).close()
    rng = random.Random(4)
    names, cut_short = set(), 0
    with enroller(path) as process:
        for _ in range(kills):
            said = churn_and_kill(process, rng.uniform(0, 0.03))
            old, new = after(names, said)
            names = names_in(path)
            assert names in (old, new)
            cut_short += old != new
    assert cut_short > kills / 4, "hardly ever killed in mid-act: the test shows nothing"


def test_a_kill_while_the_gallery_is_made_leaves_none_or_an_empty_one(tmp_path):
    rng = random.Random(5)
    for turn in range(5):
        path = tmp_path / f"{turn}.db"
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.enroller", "fill", str(path), str(10**9)],
            stdout=subprocess.PIPE,
            env=ALONE,
        )
        while not path.exists() and process.poll() is None:
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.01))
        process.kill()
        said = process.communicate()[0].decode().split("\n")
        with open_new(path) as gallery:
            gallery.enroll("p9999", faces(TEMPLATES, 9999), consent=True)
        assert names_in(path) >= {line.split()[1] for line in said if line.startswith("enroll")}


def test_where_no_file_may_grow_enrolling_fails_whole(tmp_path):
    path = tmp_path / "gallery.db"
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.enroller", "fill", str(path), "600000"],
        capture_output=True,
        text=True,
        timeout=60,
        env=ALONE,
        check=True,
    )
    *enrolled, last = done.stdout.splitlines()
    assert last.startswith("full ")
    assert "free some space" in last
    assert len(enrolled) > 5
    assert names_in(path) == {line.split()[1] for line in enrolled}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 900 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(gallery, names):
    for number in range(10_000):
        gallery.enroll(f"p{number}", faces(TEMPLATES, number), consent=True)
        names.add(f"p{number}")


def test_on_a_full_disk_the_gallery_stays_as_it_was_and_goes_on_afterwards(small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(200_000))
    path, names = small_disk / "gallery.db", set()
    with open_new(path) as gallery:
        with pytest.raises(GalleryError, match="free some space"):
            fill(gallery, names)
        assert {person.name for person in gallery.people()} == names
        gallery.audit.verify()
        ballast.unlink()
        gallery.enroll("p77777", faces(TEMPLATES, 77777), consent=True)
    assert names_in(path) == names | {"p77777"}
    assert len(names) > 5
