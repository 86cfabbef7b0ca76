"""Picture files."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from edge.errors import SourceError
from edge.vision.image_file import read_picture


def jpeg(image, orientation):
    """A JPEG with an EXIF orientation (TIFF 6.0, tag 0x0112)."""
    coded = cv2.imencode(".jpg", image)[1].tobytes()
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation]) + b"\0" * 7
    body = b"Exif\0\0" + tiff
    return coded[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + coded[2:]


@pytest.mark.parametrize(
    ("orientation", "red"),
    [(1, np.s_[:16]), (3, np.s_[16:]), (6, np.s_[:, 16:]), (8, np.s_[:, :16])],
)
def test_exif_orientation_is_honoured(tmp_path, orientation, red):
    image = np.zeros((32, 64, 3), np.uint8)
    image[:16] = 0, 0, 255  # BGR: red above
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(image, orientation))
    picture = read_picture(path)
    assert picture.size_wh == ((64, 32) if orientation in (1, 3) else (32, 64))
    assert np.abs(picture.rgb[red].astype(int) - (255, 0, 0)).mean() < 20
    assert not picture.rgb.flags.writeable


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff\xe0 cut"])
def test_what_is_no_picture_is_named(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.jpg: the file is not a picture"):
        read_picture(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"none\.jpg: No such file"):
        read_picture(tmp_path / "none.jpg")


def test_grey_and_transparent_pictures_become_rgb(tmp_path):
    for channels in (1, 4):
        path = tmp_path / f"{channels}.png"
        cv2.imwrite(str(path), np.full((5, 7, channels), 90, np.uint8))
        assert read_picture(path).rgb.shape == (5, 7, 3)


@pytest.mark.parametrize(("limit", "code"), [("", 0), ("9999", 1), ("10000", 0)])
def test_pictures_beyond_the_limit_are_refused_before_they_fill_the_memory(tmp_path, limit, code):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((100, 100, 3), np.uint8))
    program = (
        "import sys\n"
        "from edge.opencv import require_opencv; require_opencv('edge')\n"
        "from edge.errors import SourceError\n"
        "from edge.vision.image_file import read_picture\n"
        "try: read_picture(sys.argv[1])\n"
        "except SourceError as error: sys.exit(str(error))\n"
        "import os; print(os.environ['OPENCV_IO_MAX_IMAGE_PIXELS'])"
    )
    variables = {name: value for name, value in os.environ.items() if "OPENCV" not in name}
    variables |= {"OPENCV_IO_MAX_IMAGE_PIXELS": limit} if limit else {}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.png")],
        capture_output=True, text=True, env=variables, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert done.stdout.strip() == ("" if code else limit or "134217728")
    if code:
        assert "a.png: more pixels than are read at most" in done.stderr
        assert "OPENCV" not in done.stderr  # who sends one to the API sets no variables of the node
