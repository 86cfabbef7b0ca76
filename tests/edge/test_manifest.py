"""Manifests are bounded: absurd ones are one clear error, never a traceback or a flood."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import EdgeError, ModelError
from edge.manifest import KEY, MAX_FILE_BYTES, PREPROCESSING, Manifest, read_model
from edge.models.paths import resolve_model
from edge.types import Placement

GOOD = {"task": "detect", "name": "m", "input_wh": [64, 64], "classes": ["a", "b"]}


def read(**changes):
    return Manifest.from_metadata({KEY: json.dumps(GOOD | changes)}, "m.onnx")


def test_a_detector_without_preprocessing_entries_is_shown_what_older_versions_showed_it():
    assert read().placement == Placement("top_left", 114, "nearest", "halved_bilinear")


@pytest.mark.parametrize("task", ["embed", "liveness"])
def test_a_model_of_faces_must_say_how_they_are_prepared(task):
    whole = json.loads(Manifest(task=task, name="m", input_wh=(112, 112)).model_dump_json())
    assert read(**whole).task == task
    for entry in PREPROCESSING[task]:
        cut = {name: value for name, value in whole.items() if name != entry}
        with pytest.raises(ModelError, match=rf"\(no {entry} in its {KEY}\): export or adopt it"):
            Manifest.from_metadata({KEY: json.dumps(cut)}, "m.onnx")


@pytest.mark.parametrize("entry", ["resamplng", "padding", "std"])
def test_an_entry_of_another_maker_or_version_is_refused(entry):
    with pytest.raises(ModelError, match=rf"\({entry}: unknown to this version\)"):
        read(**{entry: "x"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input_wh": [10**9, 10**9]}, "input_wh"),
        ({"input_wh": [-64, 64]}, "input_wh"),
        ({"input_wh": [7, 64]}, "input_wh"),
        ({"input_wh": [64]}, "input_wh"),
        ({"input_wh": [8192, 8192]}, "64 MiB"),
        ({"task": "liveness", "clip_frames": 256, "input_wh": [2048, 2048]}, "64 MiB"),
        ({"classes": ["a", "a"]}, "'a' must be there once"),
        ({"classes": ["a", ""]}, "classes.1"),
        ({"classes": ["a", " b"]}, "blank"),
        ({"classes": ["per\x1b[31mson\n"]}, "printable"),
        ({"classes": ["\ufefffire"]}, "printable"),
        ({"classes": ["x" * 201]}, "classes.0"),
        ({"classes": [str(number) for number in range(8193)]}, "classes"),
        ({"family": "a\x1b[2J"}, "printable"),
        ({"trained_on": "x" * 5000}, "trained_on"),
        ({"score_threshold": 2}, "score_threshold"),
        ({"max_rows": 10**12}, "max_rows"),
        ({"crop_scales": [1.0] * 9}, "crop_scales"),
        ({"crop_scales": [0]}, "crop_scales"),
        ({"resampling": "lanczos"}, "resampling"),
        ({"letterbox_rounding": "up"}, "letterbox_rounding"),
        ({"letterbox_fill": 300}, "letterbox_fill"),
        ({"scale": [1, 1, float("inf")]}, "scale"),
        ({"metrics": {"ap": float("nan")}}, "metrics"),
    ],
)
def test_a_value_out_of_bounds_is_named(changes, words):
    with pytest.raises(ModelError) as caught:
        read(**changes)
    assert words in str(caught.value)
    assert caught.value.exit_code == 78
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", "[" * 100_000, '{"task":' * 500, '"' + "x" * 5_000_000 + '"',
     json.dumps(GOOD).replace("64", "9" * 5000, 1)],
)  # fmt: skip
def test_a_text_that_is_no_manifest_is_refused(text):
    with pytest.raises(ModelError, match=KEY):
        Manifest.from_metadata({KEY: text}, "m.onnx")


TEXT = st.text("ab1 \0\x1b\n\ufeff\u202e\u00e9\U0001f600", max_size=12)
ODD = st.sampled_from([10**30, -1, 2**63, 1e308, float("nan"), float("-inf")])
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | ODD
ANYTHING = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(Manifest.model_fields)), ANYTHING, max_size=4))
def test_a_manifest_that_was_changed_at_random_is_taken_or_refused_in_one_line(changes):
    try:
        manifest = read(**changes)
    except EdgeError as error:
        assert str(error).isprintable()  # noqa: PT017 - taken or refused
        assert error.exit_code == 78  # noqa: PT017
    else:
        assert all(8 <= side <= 8192 for side in manifest.input_wh)
        assert all(name.isprintable() and name for name in manifest.classes)
        assert len(set(manifest.classes)) == len(manifest.classes)


# --- files ------------------------------------------------------------------------------------


def refused_at_once(path, words):
    with pytest.raises(ModelError, match=words) as caught:
        read_model(path)
    assert caught.value.exit_code == 78


def test_a_device_a_pipe_and_a_folder_are_refused_before_they_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "folder.onnx").mkdir()
    for path in (tmp_path / "pipe.onnx", tmp_path / "folder.onnx"):
        refused_at_once(path, "regular file|directory")
    (tmp_path / "device.onnx").symlink_to("/dev/full")
    refused_at_once(tmp_path / "device.onnx", "regular file")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # sparse
    refused_at_once(tmp_path / "huge.onnx", "1024 MiB")


def test_a_name_with_a_nul_or_of_nobody_is_refused(tmp_path):
    refused_at_once(tmp_path / "a\0b", "NUL")
    with pytest.raises(ModelError, match="no such user"):
        resolve_model("~nobody-has-this-name/x.onnx", tmp_path)
