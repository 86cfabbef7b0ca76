"""The place editor: what it changes is what was asked, and nothing else."""

import difflib
import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from edge.compat import tomllib
from edge.config import Camera
from edge.errors import ConfigError
from edge.web.place_desk import describe_places
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


def test_an_inline_list_of_zones_and_lines_is_replaced():
    after = replace_places(TABLES, "yard", keep(TABLES, "yard", zones=(BENCH,), lines=(GATE,)))
    assert [zone["name"] for zone in get_camera(after, "yard")["zones"]] == ["bench"]
    (line,) = get_camera(after, "yard")["lines"]
    assert line == {"name": "gate", "a": [0.0, 0.5], "b": [1.0, 0.5]}
    assert get_camera(after, "plain") == get_camera(TABLES, "plain")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TABLES, "has no camera 'nobody'"),
        ("cameras = 1", "has no camera"),
        ('[[cameras]]\nname = "nobody"\nmotion = 1', r"motion\W+must be a table"),
        ('[[cameras]]\nname = "nobody"\nzones = [1]', r"zones\W+must be a list of tables"),
        ('[[cameras]]\nname = "nobody"\nmotion = { masks = 1 }', r"masks\W+must be a list of poly"),
    ],
)
def test_what_is_not_there_or_has_mistakes_is_not_changed(text, problem):
    with pytest.raises(ConfigError, match=problem):
        replace_places(text, "nobody", Places(zones=(BENCH,)))


# --- what is written, line by line --------------------------------------------------------------

README_CAMERA = """[[cameras]]
name = "door"
fps = 10
zones = [{ name = "entrance", polygon = [[0.1, 0.2], [0.9, 0.2], [0.9, 1], [0.1, 1]], labels = ["person"] }]
"""  # noqa: E501
INLINE = """[[cameras]]
name = "door"
zones = [
  # where they come in
  { name = "entrance", polygon = [[0, 0], [0.5, 0], [0.5, 0.5]], labels = [] },  # all of them
  { name = "exit", polygon = [[0, 0.5], [0.5, 0.5], [0.5, 1]] }
]  # as in the plan
motion = { look_every_s = 5, masks = [[[0, 0], [1, 0], [1, 0.123456]]] }  # the tree
"""
CORNERS = """[[cameras]]
name = "door"

  [[cameras.zones]]  # drawn by hand
  name = "entrance"
  polygon = [
    [0.100, 0.2],  # the post
    [0.900, 0.2],  # the wall
    [0.5, 1],
  ]
"""
ONE_TABLE = 'cameras = [{ name = "door", source = { kind = "synthetic" } }]  # one\nnode = "gate"\n'
QUOTED = '[["cameras"]]\n"name" = "door"\n["cameras".motion]\nlook_every_s = 5\n[http]\nport = 0\n'
DOTTED = '[[cameras]]\nname = "door"\nmotion.look_every_s = 5  # seldom\nfps = 5'
LATE = '[[cameras]]\nname = "door"\n[http]\nport = 0\n[cameras.motion]  # late\n'


def change_zone(text, former, **changes):
    """The zones of the door, one of them changed."""
    zones = keep(text, "door").zones
    return keep(
        text, "door",
        zones=tuple(structs.replace(z, **changes) if z.name == former else z for z in zones),
    )  # fmt: skip


MASK = ((0.1, 0.1), (0.9, 0.1), (0.5, 0.9))
MASK_TEXT = "[[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]"


@pytest.mark.parametrize(
    ("text", "places", "lines"),
    [
        # masks, whatever is around them
        (README_CAMERA, keep(README_CAMERA, "door", masks=(MASK,)), [f"+ masks = [{MASK_TEXT}]"]),
        (README_CAMERA, keep(README_CAMERA, "door", motion_masks=(MASK,)),
         ["+ [cameras.motion]", f"+ masks = [{MASK_TEXT}]"]),
        (INLINE, keep(INLINE, "door", motion_masks=()),
         ["- motion = { look_every_s = 5, masks = [[[0, 0], [1, 0], [1, 0.123456]]] }  # the tree",
          "+ motion = { look_every_s = 5 }  # the tree"]),
        (INLINE, keep(INLINE, "door", motion_masks=(((0, 0), (1, 0), (1, 0.123456)), MASK)),
         ["- motion = { look_every_s = 5, masks = [[[0, 0], [1, 0], [1, 0.123456]]] }  # the tree",
          ("+ motion = { look_every_s = 5, masks = [[[0, 0], [1, 0], [1, 0.123456]], "
          f"{MASK_TEXT}] }}  # the tree")]),
        (DOTTED, keep(DOTTED, "door", motion_masks=(MASK,)), [f"+ motion.masks = [{MASK_TEXT}]"]),
        (QUOTED, keep(QUOTED, "door", motion_masks=(MASK,)), [f"+ masks = [{MASK_TEXT}]"]),
        (LATE, keep(LATE, "door", motion_masks=(MASK,)), [f"+ masks = [{MASK_TEXT}]"]),
        (ONE_TABLE, keep(ONE_TABLE, "door", motion_masks=(MASK,)),
         ['- cameras = [{ name = "door", source = { kind = "synthetic" } }]  # one',
          ('+ cameras = [{ name = "door", source = { kind = "synthetic" }, '
          f"motion = {{ masks = [{MASK_TEXT}] }} }}]  # one")]),
        # zones that change
        (CORNERS, change_zone(CORNERS, "entrance", polygon=((0.1, 0.2), (0.9, 0.25), (0.5, 1.0))),
         ["-     [0.900, 0.2],  # the wall", "+     [0.900, 0.25],  # the wall"]),
        (CORNERS, change_zone(CORNERS, "entrance",
                              polygon=((0.1, 0.2), (0.9, 0.2), (0.7, 0.5), (0.5, 1.0))),
         ["+     [0.7, 0.5],"]),
        (CORNERS, change_zone(CORNERS, "entrance", name="way-in"),
         ['-   name = "entrance"', '+   name = "way-in"']),
        (CORNERS, change_zone(CORNERS, "entrance", dwell_s=5.0, margin=0.05, debounce_s=0.5),
         ["+   dwell_s = 5.0"]),
        (INLINE, change_zone(INLINE, "exit", labels=("car",)),
         ['-   { name = "exit", polygon = [[0, 0.5], [0.5, 0.5], [0.5, 1]] }',
          '+   { name = "exit", polygon = [[0, 0.5], [0.5, 0.5], [0.5, 1]], labels = ["car"] }']),
        # zones that are new or go
        (INLINE, keep(INLINE, "door", zones=(*keep(INLINE, "door").zones, BENCH)),
         ['-   { name = "exit", polygon = [[0, 0.5], [0.5, 0.5], [0.5, 1]] }',
          '+   { name = "exit", polygon = [[0, 0.5], [0.5, 0.5], [0.5, 1]] },',
          f'+   {{ name = "bench", polygon = {MASK_TEXT}, dwell_s = 5.0 }},']),
        (INLINE, keep(INLINE, "door", zones=keep(INLINE, "door").zones[1:]),
         [('-   { name = "entrance", polygon = [[0, 0], [0.5, 0], [0.5, 0.5]], labels = [] },'
          "  # all of them")]),
        (INLINE, keep(INLINE, "door", zones=()),
         [('-   { name = "entrance", polygon = [[0, 0], [0.5, 0], [0.5, 0.5]], labels = [] },'
          "  # all of them"),
          '-   { name = "exit", polygon = [[0, 0.5], [0.5, 0.5], [0.5, 1]] }']),
    ],
)  # fmt: skip
def test_what_differs_is_the_lines_of_what_changed(text, places, lines):
    assert sorted(changed_lines(text, replace_places(text, "door", places))) == sorted(lines)


@pytest.mark.parametrize("text", [README_CAMERA, INLINE, CORNERS, ONE_TABLE, QUOTED, DOTTED, LATE])
def test_what_the_page_shows_changes_nothing(text):
    """It shows the values of keys that are not written, too."""
    camera = get_camera(text, "door")
    settings = Camera.model_validate({"source": {"kind": "synthetic"}} | camera)
    shown = msgspec.json.decode(msgspec.json.encode(describe_places(settings)), type=Places)
    assert replace_places(text, "door", shown) == text


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


# --- any layout ---------------------------------------------------------------------------------


class Layout:
    """A configuration written in one of many ways, that knows what each of its lines is about.

    Every comment and every number is another, so that lines are told apart.
    """

    def __init__(self, draw):
        self.draw = draw
        self.lines = []  # text, and what it is about
        self.numbers = iter(range(1, 100_000))

    def add(self, text, about=""):
        self.lines.append((text, about))

    def note(self, about="", indent=""):
        """Perhaps a comment on a line of its own."""
        if self.draw(st.booleans()):
            self.add(f'{indent}# note {next(self.numbers)} = [ {{ "', about)

    def tail(self):
        return f"  # tail {next(self.numbers)} ]" if self.draw(st.booleans()) else ""

    def polygon(self):
        points = (
            f"[{self.draw(st.sampled_from(['0.{:05}', '0.{:04}0'])).format(next(self.numbers))}, "
            f"{self.draw(st.sampled_from(['0', '1', '0.50']))}]"
            for _ in range(3)
        )
        return f"[{', '.join(points)}]"

    def entries(self, name):
        labels = self.draw(st.sampled_from(["", 'labels = ["person"]', "labels = []"]))
        others = self.draw(st.sampled_from(["", "margin = 0.05", "margin = 0.20", "dwell_s = 3"]))
        entries = [f'name = "{name}"', f"polygon = {self.polygon()}", labels, others]
        return self.draw(st.permutations([entry for entry in entries if entry]))

    def array(self, key, elements, about):
        """`key = [...]` on one line, or on one for each element."""
        comma = self.draw(st.sampled_from(["", ","])) if elements else ""
        if self.draw(st.booleans()):
            values = ", ".join(value for value, _ in elements)
            self.add(f"{key} = [{values}{comma}]{self.tail()}", about)
            return
        self.add(f"{key} = [{self.tail()}", about)
        for row, (value, element) in enumerate(elements, 1):
            self.note(indent="  ")
            self.add(f"  {value}{',' if row < len(elements) else comma}{self.tail()}", element)
        self.note(indent="  ")
        self.add(f"]{self.tail()}", about)

    def masks(self, about):
        return [(self.polygon(), about) for _ in range(self.draw(st.integers(0, 3)))]

    def write(self):
        for name in ("gate", "door", "yard"):
            self.note()
            self.camera(name)
        self.add("[http]")
        self.add(f"port = {next(self.numbers)}")
        end = self.draw(st.sampled_from(["", "\n"]))
        return "\n".join(text for text, _ in self.lines) + end

    def camera(self, name):
        self.add("[[cameras]]" + self.tail())
        self.add(f'name = "{name}"' + self.tail())
        self.note()
        if self.draw(st.booleans()):
            self.array("masks", self.masks(f"{name}/masks"), f"{name}/masks")
        zones = [f"{name}-a", f"{name}-b", f"{name}-c"][: self.draw(st.integers(0, 3))]
        is_inline = self.draw(st.booleans())
        if is_inline and (zones or self.draw(st.booleans())):
            tables = [(f"{{ {', '.join(self.entries(zone))} }}", zone) for zone in zones]
            self.array("zones", tables, f"{name}/zones")
        motion = self.draw(st.sampled_from(["", "inline", "dotted", "table"]))
        if motion == "inline":
            masks = ", ".join(value for value, _ in self.masks(""))
            key, tail = f"look_every_s = {next(self.numbers)}", self.tail()
            self.add(f"motion = {{ {key}, masks = [{masks}] }}{tail}", f"{name}/motion")
        elif motion == "dotted":
            self.add(f"motion.look_every_s = {next(self.numbers)}{self.tail()}")
        self.note()
        self.add(f"fps = {next(self.numbers)}{self.tail()}")
        for zone in [] if is_inline else zones:
            self.note()
            self.block(zone)
        if motion == "table":
            self.note()
            self.add("[cameras.motion]" + self.tail())
            self.array("masks", self.masks(f"{name}/motion"), f"{name}/motion")
            self.add(f"look_every_s = {next(self.numbers)}")

    def block(self, zone):
        indent = self.draw(st.sampled_from(["", "  "]))
        self.add(f"{indent}[[cameras.zones]]{self.tail()}", zone)
        for entry in self.entries(zone):
            self.note(f"inside {zone}", indent)
            self.add(f"{indent}{entry}{self.tail()}", zone)
        if self.draw(st.booleans()):
            self.add("")


def draw_change(draw, before):
    """Other places of the door, and what lines may be about that went or are others."""
    zones, changed = [], set()
    for zone in before.zones:
        what = draw(st.sampled_from(["stay", "stay", "move", "remove"]))
        if what == "stay":
            zones.append(zone)
        elif what == "move":
            zones.append(structs.replace(zone, polygon=((0.3, 0.3), *zone.polygon[1:])))
            changed |= {zone.name}
        else:
            changed |= {zone.name, f"inside {zone.name}"}
    if draw(st.booleans()):
        zones.append(BENCH)

    def change(masks):
        kept = tuple(mask for mask in masks if draw(st.integers(0, 3)))
        return (*kept, MASK) if draw(st.booleans()) else kept

    after = Places(
        zones=tuple(zones), masks=change(before.masks), motion_masks=change(before.motion_masks)
    )
    changed |= {"door/zones"} if after.zones != before.zones else set()
    changed |= {"door/masks"} if after.masks != before.masks else set()
    changed |= {"door/motion"} if after.motion_masks != before.motion_masks else set()
    return after, changed


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_in_any_layout_only_the_lines_of_what_changed_differ(data):
    layout = Layout(data.draw)
    text = layout.write()
    before = keep(text, "door")
    places, changed = draw_change(data.draw, before)
    after = replace_places(text, "door", places)
    assert changed or after == text
    assert replace_places(after, "door", places) == after
    rest = iter(after.splitlines())
    for line, about in layout.lines:
        if (
            line and about not in changed
        ):  # in the same order, perhaps with a comma before what is new
            comma = re.sub(r"(  # tail.*)?$", r",\1", line, count=1)
            assert any(each in (line, comma) for each in rest), line

    # it says what was asked, and no more
    assert keep(after, "door") == structs.replace(
        places, zones=tuple(structs.replace(zone, dwell_s=None) for zone in places.zones)
    )
    tree, former = tomllib.loads(after), tomllib.loads(text)
    margins = {zone["name"]: zone.get("margin") for zone in former["cameras"][1].get("zones", [])}
    for camera, other in zip(tree["cameras"], former["cameras"], strict=True):
        if camera["name"] == "door":
            for zone in camera.get("zones", []):
                assert zone.get("margin") == margins.get(zone["name"])
            for each in (camera, other):
                each.get("motion", {}).pop("masks", None)
                for key in ("zones", "masks", "motion"):
                    each.pop(key, None)
    assert tree == former
