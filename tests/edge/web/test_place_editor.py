"""The place editor: what it changes is what was asked, and nothing else."""

import difflib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.compat import tomllib
from edge.errors import ConfigError
from edge.web.place_editor import replace_places
from edge.web.schema import LineEntry, Places, ZoneEntry

TRIANGLE = ((0.1, 0.1), (0.9, 0.1), (0.5, 0.9))
BENCH = ZoneEntry(name="bench", polygon=TRIANGLE, dwell_s=5.0)
GATE = LineEntry(name="gate", a=(0.0, 0.5), b=(1.0, 0.5))

TABLES = """# A comment.
node = "gate"

[models]
detector = "zoo:detect-nano"  # the small one

[[cameras]]
name = "door"
masks = [
  [[0, 0], [1, 0], [1, 0.1]],  # the clock
]
fps = 10

[cameras.source]
kind = "synthetic"

[[cameras.zones]]
name = "entrance"  # where they come in
polygon = [[0.0, 0.0], [0.5, 0.0], [0.5, 0.5]]
margin = 0.2
labels = ["person"]

[[cameras.lines]]
name = "gate"
a = [0, 0.5]
b = [1, 0.5]

# The second one.
[[cameras]]
name = "yard"
source = { kind = "synthetic" }
zones = [{ name = "all", polygon = [[0, 0], [1, 0], [1, 1]] }]
motion = { masks = [[[0, 0], [1, 0], [1, 1]]] }

[[cameras]]
name = "plain"
source = { kind = "synthetic" }
[cameras.motion]
look_every_s = 5

[http]
port = 0
"""


def get_camera(text, name):
    return next(each for each in tomllib.loads(text)["cameras"] if each["name"] == name)


def changed_lines(before, after):
    return [
        line
        for line in difflib.ndiff(before.splitlines(), after.splitlines())
        if line[0] in "+-" and line[2:].strip()
    ]


def keep(text, name, **changes):
    """The places of a camera with some changed."""
    camera = get_camera(text, name)
    polygon = [tuple(map(tuple, zone["polygon"])) for zone in camera.get("zones", [])]
    given = {
        "zones": tuple(
            ZoneEntry(name=zone["name"], polygon=points, labels=tuple(zone.get("labels", [])))
            for zone, points in zip(camera.get("zones", []), polygon, strict=True)
        ),
        "lines": tuple(
            LineEntry(name=line["name"], a=tuple(line["a"]), b=tuple(line["b"]))
            for line in camera.get("lines", [])
        ),
        "masks": tuple(tuple(map(tuple, mask)) for mask in camera.get("masks", [])),
        "motion_masks": tuple(
            tuple(map(tuple, mask)) for mask in camera.get("motion", {}).get("masks", [])
        ),
    }
    return Places(**(given | changes))


@pytest.mark.parametrize("name", ["door", "yard", "plain"])
def test_places_as_they_are_change_nothing(name):
    assert replace_places(TABLES, name, keep(TABLES, name)) == TABLES


def test_a_zone_is_added_at_the_end_of_its_camera():
    places = keep(TABLES, "door")
    after = replace_places(TABLES, "door", keep(TABLES, "door", zones=(*places.zones, BENCH)))
    assert get_camera(after, "door")["zones"][1] == {
        "name": "bench", "polygon": [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]], "dwell_s": 5.0,
    }  # fmt: skip
    assert get_camera(after, "door")["zones"][0]["margin"] == 0.2
    assert "# The second one.\n[[cameras]]" in after
    assert "# the clock" in after


def test_only_what_was_asked_is_changed():
    after = replace_places(TABLES, "door", keep(TABLES, "door", lines=()))
    assert changed_lines(TABLES, after) == [
        "- [[cameras.lines]]", '- name = "gate"', "- a = [0, 0.5]", "- b = [1, 0.5]",
    ]  # fmt: skip
    after = replace_places(TABLES, "door", keep(TABLES, "door", masks=()))
    assert get_camera(after, "door") == {
        key: value for key, value in get_camera(TABLES, "door").items() if key != "masks"
    }
    assert "fps = 10" in after


def test_masks_go_to_the_camera_and_to_its_motion():
    after = replace_places(TABLES, "plain", Places(masks=(TRIANGLE,), motion_masks=(TRIANGLE,)))
    assert get_camera(after, "plain") == {
        "name": "plain",
        "source": {"kind": "synthetic"},
        "masks": [[[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]],
        "motion": {"look_every_s": 5, "masks": [[[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]]},
    }
    after = replace_places(TABLES, "door", keep(TABLES, "door", motion_masks=(TRIANGLE,)))
    assert get_camera(after, "door")["motion"] == {"masks": [[[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]]}
    assert tomllib.loads(after)["http"] == {"port": 0}


def test_an_inline_list_of_zones_becomes_tables():
    after = replace_places(TABLES, "yard", keep(TABLES, "yard", zones=(BENCH,), lines=(GATE,)))
    assert [zone["name"] for zone in get_camera(after, "yard")["zones"]] == ["bench"]
    (line,) = get_camera(after, "yard")["lines"]
    assert line == {"name": "gate", "a": [0.0, 0.5], "b": [1.0, 0.5]}
    assert get_camera(after, "plain") == get_camera(TABLES, "plain")


@pytest.mark.parametrize(
    ("text", "camera", "places", "problem"),
    [
        (TABLES, "nobody", Places(), "has no camera 'nobody'"),
        (TABLES, "yard", Places(motion_masks=(TRIANGLE,) * 2), "change it in the text"),
        ('cameras = [{ name = "a", source = { kind = "synthetic" } }]', "a", Places(zones=(BENCH,)),
         "change it in the text"),
        ('[["cameras"]]\nname = "a"\n', "a", Places(zones=(BENCH,)), "change it in the text"),
        ("cameras = 1", "a", Places(), "has no camera"),
    ],
)  # fmt: skip
def test_what_cannot_be_changed_safely_is_left_to_a_person(text, camera, places, problem):
    with pytest.raises(ConfigError, match=problem):
        replace_places(text, camera, places)


FRACTION = st.floats(0, 1, allow_nan=False)
POLYGON = st.lists(st.tuples(FRACTION, FRACTION), min_size=3, max_size=5).map(tuple)
NAMES = st.text(alphabet="abc-_1", min_size=1, max_size=5)
ZONES = st.builds(ZoneEntry, name=NAMES, polygon=POLYGON, labels=st.just(("person",)))
LINES = st.builds(LineEntry, name=NAMES, a=st.just((0.0, 0.1)), b=st.just((1.0, 1.0)))


@settings(deadline=None)  # the machine may be busy
@given(
    st.sampled_from(["door", "plain"]),
    st.builds(
        Places,
        zones=st.lists(ZONES, max_size=3, unique_by=lambda zone: zone.name).map(tuple),
        lines=st.lists(LINES, max_size=2, unique_by=lambda line: line.name).map(tuple),
        masks=st.lists(POLYGON, max_size=2).map(tuple),
        motion_masks=st.lists(POLYGON, max_size=2).map(tuple),
    ),
)
def test_any_places_are_written_once_and_others_stay_as_they_are(name, places):
    after = replace_places(TABLES, name, places)
    before_tree, tree = tomllib.loads(TABLES), tomllib.loads(after)
    for other in ("door", "yard", "plain"):
        if other != name:
            assert get_camera(after, other) == get_camera(TABLES, other)
    assert {k: v for k, v in tree.items() if k != "cameras"} == {
        k: v for k, v in before_tree.items() if k != "cameras"
    }
    assert [zone["name"] for zone in get_camera(after, name).get("zones", [])] == [
        zone.name for zone in places.zones
    ]
    assert len(get_camera(after, name).get("motion", {}).get("masks", [])) == len(
        places.motion_masks
    )
    assert replace_places(after, name, places) == after
