"""How old frames are."""

from edge.service.frame_rate import MEASURED, AgeMeter


def test_the_age_is_the_median_and_the_largest_of_the_latest_frames():
    meter = AgeMeter()
    assert meter.measure() is None
    meter.note(9.0)
    for row in range(MEASURED):
        meter.note(0.05 if row % 4 else 0.2)
    assert meter.measure() == (0.05, 0.2)
