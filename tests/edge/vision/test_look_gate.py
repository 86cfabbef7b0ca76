"""The look gate: at motion, at whoever is followed, from time to time, and otherwise not."""

import numpy as np

from edge.types import Frame, Look, RgbPicture
from edge.vision.look_gate import LookGate, choose_looks

PICTURE = RgbPicture(np.zeros((2, 2, 3), np.uint8))


def frame(at_s, moving, epoch=1, camera="a"):
    return Frame(camera, epoch, int(at_s * 10), at_s, at_s, PICTURE, moving=moving)


def test_the_cause_of_each_look_is_told():
    gate = LookGate(10)
    assert gate.choose(frame(0.0, moving=False)) is Look.INTERVAL  # nobody has looked yet
    assert gate.choose(frame(0.2, moving=False)) is Look.NONE
    assert gate.choose(frame(0.4, moving=True)) is Look.MOTION
    gate.note(followed=True)
    assert gate.choose(frame(0.6, moving=False)) is Look.FOLLOWED
    gate.note(followed=False)
    assert gate.choose(frame(0.8, moving=False)) is Look.NONE
    assert gate.choose(frame(10.5, moving=False)) is Look.NONE
    assert gate.choose(frame(10.6, moving=False)) is Look.INTERVAL
    assert gate.choose(frame(10.8, moving=None)) is Look.ALWAYS


def test_a_new_epoch_and_a_clock_that_stepped_back_are_looked_at():
    gate = LookGate(10)
    gate.choose(frame(100, moving=False))
    assert gate.choose(frame(101, moving=False, epoch=2)) is Look.INTERVAL
    assert gate.choose(frame(50, moving=False, epoch=2)) is Look.INTERVAL


def test_in_a_batch_the_frames_behind_a_look_are_looked_at():
    gates = {"a": LookGate(10), "b": LookGate(10)}
    for gate in gates.values():
        gate.choose(frame(0, moving=False))
    batch = [
        frame(1, moving=False), frame(1, moving=False, camera="b"), frame(2, moving=True),
        frame(2, moving=False, camera="b"), frame(3, moving=False),
    ]  # fmt: skip
    looks = choose_looks(batch, [gates[frame.camera] for frame in batch])
    assert looks == [Look.NONE, Look.NONE, Look.MOTION, Look.NONE, Look.FOLLOWED]
