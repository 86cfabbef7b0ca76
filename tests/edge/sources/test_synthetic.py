"""The camera that does not exist."""

import itertools
import threading

import cv2
import numpy as np
import pytest

from edge.errors import SourceError
from edge.sources import synthetic


@pytest.fixture
def photo(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), image)
    return tmp_path / "photo.png"


def pictures(photo, count=6, **options):
    table = {"photo": photo, "size_wh": (64, 36), "fps": 1000} | options
    with synthetic.build(synthetic.Options(**table)).connect(threading.Event()) as captures:
        return [capture.picture.rgb for capture in itertools.islice(captures, count)]


def test_the_same_seed_gives_the_same_pictures_and_another_gives_others(photo):
    once, again, other = pictures(photo), pictures(photo), pictures(photo, seed=1)
    assert all(map(np.array_equal, once, again))
    assert not any(map(np.array_equal, once, other))


def test_the_view_moves_and_has_noise(photo):
    still = pictures(photo, fps=1000, noise=0)
    assert not np.array_equal(still[0], pictures(photo)[0])
    assert not np.array_equal(*pictures(photo, count=2))
    assert not np.array_equal(*pictures(photo, count=2, fps=20, noise=0))


def test_two_pictures_on_end_differ_little_without_noise(photo):
    first, second = pictures(photo, count=2, fps=100, noise=0)
    assert np.abs(first.astype(int) - second).mean() < 20


@pytest.mark.parametrize("size_wh", [(64, 36), (36, 64), (33, 33), (16, 16)])
def test_any_sensible_size_can_be_asked_for(photo, size_wh):
    assert pictures(photo, count=1, size_wh=size_wh)[0].shape == (size_wh[1], size_wh[0], 3)


def test_the_photograph_of_matplotlib_is_found_without_importing_it():
    pytest.importorskip("matplotlib", reason="pip install '.[demo]'")
    assert pictures(None, count=1)[0].std() > 20


def test_without_matplotlib_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(synthetic.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SourceError, match=r" -m pip install '\.\[demo\]'"):
        pictures(None, count=1)
