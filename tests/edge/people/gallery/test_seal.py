"""The head that was seen last, while several change a gallery and look into it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge.errors import GalleryError
from edge.people.gallery.gallery import Gallery
from edge.people.gallery.seal import SeenHead
from tests.support.gallery import EMBEDDER, KEY, faces, open_new

CHANGES = 40
WRITERS = READERS = 3


@pytest.fixture
def path(tmp_path):
    """A gallery of one person."""
    file = tmp_path / "gallery.db"
    with open_new(file) as gallery:
        gallery.enroll("Ann", faces(1, seed=1), consent=True)
    return file


def change(path):
    with Gallery(path, KEY, EMBEDDER) as gallery:
        for number in range(CHANGES):
            gallery.set_calibration({"threshold": number / 1000})


def get_number(head):
    return int(head.partition(":")[0])


def test_who_looks_while_others_change_it_sees_no_older_copy(path):
    done = threading.Event()

    def look():
        looks = 0
        while not done.is_set():
            with Gallery(path, KEY, EMBEDDER) as gallery:
                assert [person.name for person in gallery.people()] == ["Ann"]
                assert len(gallery.index()) == 1
            looks += 1
        return looks

    with ThreadPoolExecutor(WRITERS + READERS) as threads:
        readers = [threads.submit(look) for _ in range(READERS)]
        writers = [threads.submit(change, path) for _ in range(WRITERS)]
        try:
            for writer in writers:
                writer.result()
        finally:
            done.set()
        assert all(reader.result() for reader in readers)


def test_a_change_between_two_looks_is_no_older_copy(path, monkeypatch):
    read = SeenHead.read
    with Gallery(path, KEY, EMBEDDER) as other:
        changes = iter([lambda: other.set_calibration({"threshold": 0.3})])

        def read_while_others_change(seen):
            for each in changes:  # once; it reads the head, too
                each()
            return read(seen)

        monkeypatch.setattr(SeenHead, "read", read_while_others_change)
        with Gallery(path, KEY, EMBEDDER) as gallery:
            assert gallery.calibration() == {"threshold": 0.3}


def test_the_head_only_ever_moves_forward(path, monkeypatch):
    written, write = [], SeenHead.write

    def keep(seen, head):
        time.sleep(0.005 * (get_number(head) % 2))  # others could be faster
        written.append(get_number(head))
        write(seen, head)

    monkeypatch.setattr(SeenHead, "write", keep)
    with ThreadPoolExecutor(WRITERS) as threads:
        list(threads.map(change, [path] * WRITERS))
    assert len(written) > WRITERS
    assert written == sorted(written)
    with Gallery(path, KEY, EMBEDDER) as gallery, gallery.store.database.reading():
        assert written[-1] == get_number(gallery.store.audit.head())


def test_a_change_of_another_branch_is_not_taken_for_the_latest(path, tmp_path):
    branch = tmp_path / "branch.db"
    branch.write_bytes(path.read_bytes())
    branch.chmod(0o600)
    with Gallery(path, KEY, EMBEDDER) as gallery, Gallery(branch, KEY, EMBEDDER) as other:
        gallery.forget("Ann")
        other.set_calibration({"threshold": 0.3})
        assert len(gallery.index()) == 0
        with pytest.raises(GalleryError, match="another branch"):
            other.index()
    with pytest.raises(GalleryError, match="another branch"):
        Gallery(branch, KEY, EMBEDDER)
