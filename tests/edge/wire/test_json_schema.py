import json
import re
from pathlib import Path

import jsonschema
import pytest

from edge.types import CameraState, Liveness, Outcome, StatusReason, TrackEventType
from edge.vision.zones import LEFT_TO_RIGHT, RIGHT_TO_LEFT
from edge.wire import json_schema

GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("*.json"))
SCHEMA = json.loads(json_schema.PATH.read_text())


def check(path, message):
    family = path.stem.partition("_")[0]
    definition = {"$ref": SCHEMA["topics"][f"v1/{family}/"], "$defs": SCHEMA["$defs"]}
    jsonschema.validate(message, definition, jsonschema.Draft202012Validator)
    jsonschema.validate(message, SCHEMA, jsonschema.Draft202012Validator)


def test_the_shipped_schema_is_the_generated_one():
    assert json_schema.PATH.read_text() == json_schema.text(), "python -m edge.wire.json_schema"


def test_the_shipped_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


# An event goes on, and one of a camera that is away shows nothing; a track has its own changes.
ABSENT = {
    "tracks_attribute": {"name", "attribute"},
    "events": {"ended_at", "track", "label", "score", "box", "best_at", "width", "height"},
}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_message_validates(path):
    check(path, json.loads(path.read_text()))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_message_without_a_promised_field_does_not_validate(path):
    whole = json.loads(path.read_text())
    for field in whole.keys() - {"cached", "reason_code", "looked"} - ABSENT.get(path.stem, set()):
        with pytest.raises(jsonschema.ValidationError):
            check(path, {key: value for key, value in whole.items() if key != field})


def test_every_field_is_described():
    missing = [
        (name, field)
        for name, definition in SCHEMA["$defs"].items()
        for field, said in definition["properties"].items()
        if "description" not in said and field != "schema"
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("message", "field", "words"),
    [
        ("TracksMessage", "direction", (LEFT_TO_RIGHT, RIGHT_TO_LEFT)),
        ("TracksMessage", "change", TrackEventType),
        ("StatusMessage", "state", CameraState),
        ("StatusMessage", "reason_code", StatusReason),
        ("Face", "outcome", Outcome),
        ("Face", "liveness", Liveness),
    ],
)
def test_the_schema_names_the_words_that_are_sent_and_no_others(message, field, words):
    """Subscribers are written from these descriptions."""
    description = SCHEMA["$defs"][message]["properties"][field]["description"]
    named = set(re.findall(r"`([a-z_]+)`", description)) - {"a", "b", "crossed"}
    assert named == {str(word) for word in words} - {"crossed"}
