"""Track crops: one picture per track, its best look."""

import av
import cv2
import numpy as np
import pytest

from edge.errors import ConfigError
from edge.types import Detections
from tests.support.videos import write_video
from trainers.track_crops import CropSettings, cut_tracks, write_track_crops

SIZE_WH = (320, 240)
NEAR = 12  # frame in which the walker is nearest


class Finder:
    """Finds a walker who comes near and goes, and from frame 20 on a cart that stands."""

    name, sha256, classes, input_wh = "finder", "0" * 64, ("person", "cart"), (320, 240)

    def detect(self, frames):
        return [self._find(frame.seq) for frame in frames]

    def _find(self, seq):
        height = 120 - 4 * abs(seq - NEAR)
        rows = [[40, 100, 40 + height / 2, 100 + height]]
        kinds = [0]
        if seq >= 20:
            rows.append([200, 100, 260, 140])
            kinds.append(1)
        return Detections(np.float32(rows), np.float32([0.9] * len(rows)), np.int32(kinds))


@pytest.fixture
def film(tmp_path):
    """Thirty frames, each of another gray level."""
    path = tmp_path / "films" / "yard" / "gate.mp4"
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
        for seq in range(30):
            image = np.full((SIZE_WH[1], SIZE_WH[0], 3), 40 + 6 * seq, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_the_nearest_look_of_a_track_is_kept(film):
    settings = CropSettings(of=("person",), fps=10, margin=0.0)
    [(_, look)] = cut_tracks(film, Finder(), settings)
    assert look.label == "person"
    assert look.rgb.shape == (120, 60, 3)
    assert look.rgb.mean() == pytest.approx(40 + 6 * NEAR, abs=3)


def test_a_margin_is_added_as_a_classifier_adds_it(film):
    settings = CropSettings(of=("person",), fps=10, margin=0.1)
    [(_, look)] = cut_tracks(film, Finder(), settings)
    assert look.rgb.shape == (132, 66, 3)


def test_fewer_frames_are_looked_at_when_asked(film):
    looked = []
    settings = CropSettings(of=("person",), fps=2)
    list(cut_tracks(film, Finder(), settings, lambda: looked.append(1)))
    assert len(looked) == 6


def test_files_lie_as_the_recordings_do_and_name_the_class(film, tmp_path):
    settings = CropSettings(of=("person", "cart"), fps=10)
    out = tmp_path / "crops"
    written, notes = write_track_crops([tmp_path / "films"], out, Finder(), settings)
    assert [p.relative_to(out).parts[0] for p in written] == ["yard", "yard"]
    assert {p.name.split("-")[1] for p in written} == {"person", "cart"}
    assert all(cv2.imread(str(p)) is not None for p in written)
    assert notes == []
    with pytest.raises(ConfigError, match="is not empty: choose a new one"):
        write_track_crops([film], out, Finder(), settings)


def test_what_is_too_small_is_not_cut_out(film, tmp_path):
    settings = CropSettings(of=("cart",), fps=10, least_px=41)
    assert write_track_crops([film], tmp_path / "crops", Finder(), settings)[0] == []


@pytest.mark.parametrize(("of", "says"), [(("cow",), "--of cow: the detector knows person, cart"),
                                          ((), "the detector knows person")])  # fmt: skip
def test_a_class_that_nobody_detects_is_refused(film, tmp_path, of, says):
    with pytest.raises(ConfigError, match=says):
        write_track_crops([film], tmp_path / "crops", Finder(), CropSettings(of=of))


def test_a_broken_recording_is_named(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no film")
    with pytest.raises(ConfigError, match="repair the recording or leave it out"):
        write_track_crops(
            [tmp_path / "a.mp4"], tmp_path / "crops", Finder(), CropSettings(of=("cart",))
        )


def test_two_recordings_of_one_name_are_not_mixed(film, tmp_path):
    (tmp_path / "other").mkdir()
    write_video(tmp_path / "other" / "gate.mp4", 30, size_wh=SIZE_WH)
    with pytest.raises(ConfigError, match="Another recording is called gate"):
        write_track_crops(
            [film, tmp_path / "other" / "gate.mp4"], tmp_path / "crops", Finder(),
            CropSettings(of=("person",)),
        )  # fmt: skip
