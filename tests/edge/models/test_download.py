"""Downloads: resumed, bounded in time, and nothing but the pinned bytes."""

import fcntl
import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest

from edge.errors import EdgeError, ModelError
from edge.models.download import Download
from tests.support.file_server import FileServer

CONTENT = np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def server():
    with FileServer(CONTENT).running() as running:
        yield running


@pytest.fixture
def wanted(server, tmp_path):
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Download(server.url, tmp_path / "new" / "m.onnx", len(CONTENT), digest, timeout_s=2)


def part(wanted):
    return wanted.target.with_name("m.onnx.part")


def test_a_download_brings_the_file_and_tells_its_progress(wanted):
    counts = []
    wanted.run(counts.append)
    assert wanted.target.read_bytes() == CONTENT
    assert counts == sorted(counts)
    assert counts[-1] == len(CONTENT)
    assert not part(wanted).exists()


def test_what_is_there_is_not_fetched_again(wanted, server):
    wanted.run()
    wanted.run()
    assert len(server.asked) == 1


def test_a_dropped_connection_is_taken_up_where_it_broke(wanted, server):
    server.drops = [100_000, 50_000]
    wanted.run()
    assert wanted.target.read_bytes() == CONTENT
    assert server.asked == ["", "bytes=100000-", "bytes=150000-"]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(wanted, server):
    server.drops = [10_000] * 4
    with pytest.raises(EdgeError, match="40000 of 300000 bytes are here: run the command again"):
        wanted.run()
    assert part(wanted).stat().st_size == 40_000
    counts = []
    wanted.run(counts.append)
    assert wanted.target.read_bytes() == CONTENT
    assert (server.asked[-1], counts[0]) == ("bytes=40000-", 40_000)


def test_a_server_without_ranges_sends_everything_again(wanted, server):
    server.drops, server.ranges = [100_000], False
    wanted.run()
    assert wanted.target.read_bytes() == CONTENT


def test_a_length_that_is_not_told_is_found_out(wanted, server):
    server.length = False
    wanted.run()
    assert wanted.target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sha256": "0" * 64}, "another sha256"),
        ({"size_bytes": len(CONTENT) + 1}, f"has {len(CONTENT)} bytes, not {len(CONTENT) + 1}"),
        ({"size_bytes": len(CONTENT) - 1}, f"has {len(CONTENT)} bytes, not {len(CONTENT) - 1}"),
    ],
)
def test_other_bytes_than_the_pinned_ones_are_refused_and_deleted(wanted, change, says):
    with pytest.raises(ModelError, match=says):
        replace(wanted, **change).run()
    assert list(wanted.target.parent.iterdir()) == []


def test_an_endless_file_is_cut_off_at_its_size(wanted, server):
    server.length = False
    with pytest.raises(ModelError, match="has more than 1000 bytes"):
        replace(wanted, size_bytes=1000).run()
    assert list(wanted.target.parent.iterdir()) == []


def test_a_beginning_of_another_file_is_found_out(wanted):
    part(wanted).parent.mkdir()
    part(wanted).write_bytes(b"x" * 1000)
    with pytest.raises(ModelError, match="another sha256"):
        wanted.run()
    assert not part(wanted).exists()
    wanted.run()  # from the start
    assert wanted.target.read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 5])
def test_a_whole_part_is_checked_and_one_too_long_fetched_again(wanted, server, size):
    part(wanted).parent.mkdir()
    part(wanted).write_bytes((CONTENT + b"12345")[:size])
    wanted.run()
    assert wanted.target.read_bytes() == CONTENT
    assert len(server.asked) == (size > len(CONTENT))


def test_a_file_that_became_shorter_is_refused(wanted, server):
    part(wanted).parent.mkdir()
    part(wanted).write_bytes(CONTENT[:2000])
    server.content = CONTENT[:1000]
    with pytest.raises(ModelError, match="shorter than 2000 bytes"):
        wanted.run()
    assert not part(wanted).exists()


def test_a_silent_server_is_given_up(wanted, server):
    server.silent = True
    with pytest.raises(EdgeError, match=r"0\.2 s"):
        replace(wanted, timeout_s=0.2).run()


@pytest.mark.parametrize("status", [404, 500])
def test_a_refusal_is_told_with_its_number(wanted, server, status):
    server.status = status
    with pytest.raises(EdgeError, match=f"answers {status}"):
        wanted.run()


def test_nobody_there_is_told(wanted):
    with pytest.raises(EdgeError, match="cannot be reached"):
        replace(wanted, url="http://127.0.0.1:1/m.onnx").run()


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/m.onnx"])
def test_a_redirection_away_from_http_is_not_followed(wanted, server, location):
    server.status, server.location = 302, location
    with pytest.raises(EdgeError):
        wanted.run()


@pytest.mark.parametrize(
    "location", ["http://[::1/m.onnx", "http://a..b/m.onnx", "http://127.0.0.1:port/m.onnx"]
)
def test_a_redirection_to_a_broken_address_is_one_message(wanted, server, location):
    server.status, server.location = 302, location
    with pytest.raises(EdgeError) as caught:
        wanted.run()
    assert server.url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_redirection_in_a_circle_is_one_message(wanted, server):
    server.status, server.location = 302, server.url
    with pytest.raises(EdgeError, match=r"answers 302 .*infinite loop") as caught:
        wanted.run()
    assert "\n" not in str(caught.value)


def test_headers_without_end_are_given_up(wanted, server):
    server.drips = "headers"
    with pytest.raises(EdgeError, match=r"its headers did not end within 0\.5 s"):
        replace(wanted, timeout_s=0.5).run()


def test_what_comes_with_a_redirection_is_not_waited_for(wanted, server):
    server.drips = "body"
    wanted.run()
    assert wanted.target.read_bytes() == CONTENT


def test_a_part_that_is_no_file_is_refused(wanted):
    part(wanted).parent.mkdir()
    os.mkfifo(part(wanted))
    with pytest.raises(EdgeError, match=r"m\.onnx\.part: this is no regular file: remove it"):
        wanted.run()


def test_two_downloads_of_one_file_do_not_mix(wanted):
    part(wanted).parent.mkdir()
    with part(wanted).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(EdgeError, match="is downloading the file"):
            wanted.run()


def test_a_place_that_cannot_be_written_is_told(wanted, tmp_path):
    (tmp_path / "new").write_text("a file, no folder")
    with pytest.raises(EdgeError, match="choose another place"):
        wanted.run()
