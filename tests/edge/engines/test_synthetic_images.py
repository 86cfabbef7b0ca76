"""Synthetic images that engines are compared on."""

import numpy as np

from edge.engines.synthetic_images import draw_synthetic_images


def test_synthetic_images_have_the_shape_of_the_input_and_differ():
    clips = draw_synthetic_images((4, 40, 48, 3), 2)
    assert clips.shape == (2, 4, 40, 48, 3)
    assert not np.array_equal(clips[0], clips[1])
