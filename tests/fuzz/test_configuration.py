"""The configuration file: whatever is in it, a `ConfigError` or a configuration."""

from pathlib import Path

from hypothesis import strategies as st

from edge import config_file
from edge.errors import ConfigError
from tests.support.fuzzing import SECRET, expect, fuzz, mutate

EXAMPLE = Path("edge/systemd/example.toml").read_bytes()
SMALL = b"""\
node = "gate"
[models]
detector = "zoo:detect-nano"
[[cameras]]
name = "door"
fps = 10
[cameras.source]
kind = "rtsp"
url = "rtsp://10.0.0.7/stream"
user = "viewer"
password = "%s"
[[cameras.zones]]
name = "entrance"
polygon = [[0.1, 0.2], [0.9, 0.2], [0.9, 1.0]]
[[cameras.events]]
when = ["entered:entrance"]
severity = "alert"
[[sinks]]
kind = "zeromq"
bind = "tcp://127.0.0.1:*"
[http]
port = 0
""" % SECRET.encode()
LINES = SMALL.splitlines(keepends=True)
VALUES = (
    "-1", "1e999", "nan", "inf", '""', '"\\u0000"', "[]", "{}", "[[]]", "true", "1979-05-27",
    '"../../x"', '"${HOME}"', '"${"', "9" * 5000, '"' + "a" * 5000 + '"', "{a.b.c = 1}",
    '"\\u202e"', '"zoo:"', '"tcp://[::"', '"rtsp://[x"', '"rtsp://a:b@c:99999/"',
)  # fmt: skip


@fuzz(
    150,
    content=mutate(
        [EXAMPLE, SMALL.replace(SECRET.encode(), b"x")], (b"[[cameras]]", b"={}", b"=[]", b'"""')
    ),
)
def test_bytes_of_a_file(tmp_path, content):
    path = tmp_path / "edge.toml"
    path.write_bytes(content)
    with expect(ConfigError):
        config_file.load(path)


@st.composite
def change_lines(draw):
    """Lines that are missing, twice, elsewhere or of another value; never the password's."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        key = lines[at].partition(b"=")[0]
        edit = draw(st.sampled_from(("value", "value", "delete", "twice", "move")))
        if edit == "value" and b"=" in lines[at] and SECRET.encode() not in lines[at]:
            lines[at] = key + b"= " + draw(st.sampled_from(VALUES)).encode() + b"\n"
        elif edit == "delete" and len(lines) > 1:
            del lines[at]
        elif edit == "twice":
            lines.insert(at, lines[at])
        elif edit == "move":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
    return b"".join(lines)


@fuzz(150, content=change_lines())
def test_lines_of_a_file_and_its_password_stays_secret(tmp_path, content):
    path = tmp_path / "edge.toml"
    path.write_bytes(content)
    with expect(ConfigError):
        config_file.load(path)
