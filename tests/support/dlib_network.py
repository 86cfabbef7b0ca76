"""dlib files: a small network, written layer by layer as dlib does."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

SIDE = 150
FLOATS = {  # mantissa and exponent, as in dlib's own file
    122.782: b"\x03\x62\x90\xf5\x81\x11",
    117.001: b"\x03\x83\x00\xea\x81\x11",
    104.298: b"\x03\x93\x98\xd0\x81\x11",
}
ONE, END = b"\x01\x10\x81\x04", b"110" + b"\x01\x02\x01\x00\x01\x00\x01\x00\x01\x00" * 3


def ints(*values):
    return b"".join(
        bytes([size]) + value.to_bytes(size, "little")
        for value in values
        for size in [max(1, (value.bit_length() + 7) // 8)]
    )


def name(text):
    return ints(len(text)) + text.encode()


def tensor(values):
    shape = (*values.shape, *[1] * (4 - values.ndim))
    return ints(2, *shape) + values.astype("<f4").tobytes()


class Writer:
    """Writes layers and computes beside what they make of a picture ``(3, 150, 150)``."""

    def __init__(self, picture):
        self.rng = np.random.default_rng(0)
        self.data = ints(1, 1, 1) + name("input_rgb_image_sized")
        self.data += b"".join(FLOATS.values()) + ints(SIDE, SIDE)
        self.value, self.shortcut, self.first = picture, picture, True

    def convolve(self, count, size, stride, padding):
        shape = (count, len(self.value), size, size)
        weights, bias, gamma, beta = (
            self.rng.normal(0, 0.3, n).astype(np.float32) for n in (shape, count, count, count)
        )
        params = np.concatenate([weights.ravel(), bias])
        self.data += name("con_4") + tensor(params)
        self.data += ints(count, size, size, stride, stride, padding, padding)
        self.data += ints(1, *shape, 1, 1, count, 1, 1) + ONE * 4 + END
        self.data += ints(1) if self.first else b""
        self.data += name("affine_") + tensor(np.concatenate([gamma, beta]))
        self.data += ints(1, 1, count, 1, 1, 1, 1, count, 1, 1, 0) + END
        around = np.pad(self.value, ((0, 0), (padding, padding), (padding, padding)))
        seen = sliding_window_view(around, (size, size), (1, 2))[:, ::stride, ::stride]
        made = np.einsum("chwyx,kcyx->khw", seen, weights) + bias[:, None, None]
        self.value, self.first = made * gamma[:, None, None] + beta[:, None, None], False

    def rectify(self):
        self.data += name("relu_") + END
        self.value = np.maximum(self.value, 0)

    def shrink(self):
        self.data += name("max_pool_2") + ints(3, 3, 2, 2, 0, 0) + END
        self.value = sliding_window_view(self.value, (3, 3), (1, 2))[:, ::2, ::2].max((3, 4))

    def add_block(self, count, *, halves):
        shortcut = self.value
        self.convolve(count, 3, 2 if halves else 1, 0 if halves else 1)
        self.rectify()
        self.convolve(count, 3, 1, 1)
        if halves:
            self.data += name("avg_pool_2") + ints(2, 2, 2, 2, 0, 0) + END
            shortcut = sliding_window_view(shortcut, (2, 2), (1, 2))[:, ::2, ::2].mean((3, 4))
        self.data += name("add_prev_") + END
        shape = np.maximum(shortcut.shape, self.value.shape)
        total = np.zeros(shape, np.float32)
        for part in (shortcut, self.value):
            total[tuple(map(slice, part.shape))] += part
        self.value = total
        self.rectify()

    def finish(self, dimension):
        self.data += name("avg_pool_2") + ints(0, 0, 1, 1, 0, 0) + END
        weights = self.rng.normal(0, 1, (len(self.value), dimension)).astype(np.float32)
        self.data += name("fc_2") + ints(dimension, len(weights)) + tensor(weights)
        self.value = self.value.mean((1, 2)) @ weights


def write_small_network():
    """A picture ``(3, 150, 150)``, a network in which all kinds of sums occur, and its answer."""
    rng = np.random.default_rng(1)
    writer = Writer(rng.normal(0, 0.3, (3, SIDE, SIDE)).astype(np.float32))
    picture = writer.value
    writer.convolve(2, 7, 2, 0)
    writer.rectify()
    writer.shrink()  # 35
    writer.add_block(2, halves=False)
    writer.add_block(3, halves=True)  # 17, and more channels
    writer.add_block(3, halves=True)  # 8
    writer.add_block(3, halves=True)  # 3, the shortcut 4
    writer.finish(8)
    return picture, writer.data, writer.value
