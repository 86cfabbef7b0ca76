"""Storage that cannot be used is said, and shown again as soon as it can be."""

import shutil

import pytest

from edge.errors import StorageError
from edge.recording.index import Index
from edge.web.ports import Archive
from tests.support.web_node import make_event, make_node, serving


def ask(served):
    answer = served.ask("/api/v1/events")
    return answer.status


def put(folder, number):
    folder.mkdir(parents=True, exist_ok=True)
    index = Index(folder / "index.db")
    index.put_event(make_event(number))
    index.close()


def test_a_folder_that_is_made_again_is_read_again(tmp_path):
    archive = Archive(tmp_path / "kept")
    with pytest.raises(StorageError, match="cannot be used: see the health"):
        _ = archive.index
    put(tmp_path / "kept", 1)
    assert archive.index is archive.index
    assert archive.index.get_event("e00001")
    shutil.rmtree(tmp_path / "kept")
    put(tmp_path / "kept", 2)
    assert archive.index.get_event("e00001") is None
    assert archive.index.get_event("e00002")
    archive.index.close()


def test_the_page_says_that_it_cannot_be_used_until_it_can(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/index.db").write_text("not an index" * 400)
    archive = Archive(tmp_path / "kept")
    with serving(make_node(archive=archive)) as served:
        assert ask(served) == 503
        (tmp_path / "kept/index.db").unlink()
        assert ask(served) == 503
        put(tmp_path / "kept", 1)
        assert ask(served) == 200
