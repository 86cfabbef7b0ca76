"""Lag: streams are simulated, packet by packet, on a clock of their own."""

import itertools

import pytest

from edge.sources._lag import LagLimit, LagMeter

FPS, GOP = 10, 10
MAX_LAG_S = 2.0


def watch(decode_s, duration_s=60.0, stamp=lambda at_s: at_s, arrive=lambda at_s: at_s):
    """Read a camera with a decoder that takes ``decode_s(now_s)`` a packet.

    Returns:
        For each packet ``(when it was made, when it was read, its lag, admitted, key frame)``.
    """
    limit, now_s, rows = LagLimit(MAX_LAG_S), 0.0, []
    for number in range(round(duration_s * FPS)):
        at_s = number / FPS
        before_s, now_s = now_s, max(now_s, arrive(at_s))
        key_frame = number % GOP == 0
        admitted = limit.admit(stamp(at_s), now_s, now_s - before_s, key_frame=key_frame)
        rows.append((at_s, now_s, limit.lag_s, admitted, key_frame))
        now_s += decode_s(now_s) if admitted else 0.001
    return limit, rows


def slow_until(end_s, decode_s=0.25):
    return lambda now_s: decode_s if now_s < end_s else 0.01


def test_a_camera_that_is_read_in_time_has_no_lag():
    limit, rows = watch(lambda now_s: 0.05)
    assert max(lag_s for _, _, lag_s, _, _ in rows) < 1e-6
    assert limit.late == 0


def test_the_lag_is_the_time_that_packets_waited():
    _, rows = watch(slow_until(10), duration_s=15)
    before = [row for row in rows if row[3]]
    for at_s, now_s, lag_s, _, _ in before:
        assert lag_s == pytest.approx(now_s - at_s, abs=0.3)  # of two packets the smaller lag


def test_a_slow_decoder_is_late_by_a_bounded_time_and_in_time_when_it_is_fast_again():
    limit, rows = watch(slow_until(30))
    assert all(lag_s <= MAX_LAG_S for _, _, lag_s, admitted, _ in rows if admitted)
    assert limit.late > 100
    fast = [row for row in rows if row[1] >= 30]
    keys = list(itertools.accumulate(key_frame and admitted for *_, admitted, key_frame in fast))
    back = next(n for n, row in enumerate(fast) if row[2] < 0.1 and row[3])
    assert keys[back] <= 2
    assert all(row[2] < 0.1 and row[3] for row in fast[back:])


def test_decoding_goes_on_at_a_key_frame():
    _, rows = watch(slow_until(30))
    resumed = [row for last, row in itertools.pairwise(rows) if row[3] and not last[3]]
    assert resumed
    assert all(key_frame for *_, key_frame in resumed)


def test_a_standing_backlog_is_no_new_normal():
    _, rows = watch(lambda now_s: 1.5 if 5 < now_s < 5.2 else 0.1, duration_s=300)
    assert rows[-1][2] > 1.2


def test_the_clock_of_a_camera_may_drift():
    _, rows = watch(lambda now_s: 0.01, duration_s=3600, stamp=lambda at_s: at_s * (1 - 150e-6))
    assert max(row[2] for row in rows) < 0.01


@pytest.mark.parametrize(
    "stamp",
    [
        lambda at_s: None,
        lambda at_s: 7.0,  # they stand still
        lambda at_s: at_s if at_s < 20 else at_s + 95443.7,  # 2^33 / 90 kHz
        lambda at_s: at_s if at_s < 20 else at_s - 95443.7,
        lambda at_s: at_s if at_s < 20 else at_s - 1.5,
        lambda at_s: at_s % 7,  # a film in a loop
        lambda at_s: 0.0 if at_s < 20 else at_s,
        lambda at_s: 20.0 if 20 < at_s < 40 else at_s,
    ],
    ids=["none", "still", "ahead", "wrapped", "back", "loop", "late", "pause"],
)
def test_stamps_that_say_nothing_lose_no_picture(stamp):
    limit, rows = watch(lambda now_s: 0.01, stamp=stamp)
    assert limit.late == 0
    assert rows[-1][2] < 0.1


def test_stamps_of_reordered_pictures_are_no_lag():
    order = (0, 3, -1, -1, 0.5)  # periods by which pictures come out of order
    count = itertools.count()
    limit, rows = watch(
        lambda now_s: 0.01, stamp=lambda at_s: at_s + order[next(count) % len(order)] / FPS
    )
    assert limit.late == 0
    assert max(row[2] for row in rows) < 0.5


def test_stamps_slower_than_the_clock_lose_no_picture():
    limit, rows = watch(lambda now_s: 0.01, stamp=lambda at_s: 0.8 * at_s)
    assert limit.late == 0
    assert max(row[2] for row in rows) <= MAX_LAG_S


def test_a_network_that_pauses_loses_no_picture():
    pause = lambda at_s: 13.0 if 10 < at_s < 13 else at_s  # noqa: E731
    limit, rows = watch(lambda now_s: 0.01, arrive=pause)
    assert limit.late == 0
    assert rows[-1][2] < 0.1


def test_where_passing_over_does_not_help_it_is_given_up():
    limit = LagLimit(MAX_LAG_S)
    admitted = []
    for number in range(600):  # as if each read were instant, and each stamp half as long
        now_s = number / FPS
        admitted.append(limit.admit(now_s / 2, now_s, 0.0, key_frame=number % GOP == 0))
    longest = max(len(list(run)) for is_in, run in itertools.groupby(admitted) if not is_in)
    assert longest <= 60
    assert sum(admitted) > 250


def test_a_meter_takes_the_earliest_packet_for_one_in_time():
    meter = LagMeter()
    assert [round(meter.measure(n, n + d), 3) for n, d in enumerate((3, 2, 2.5, 1, 4))] == [
        0, 0, pytest.approx(0.5, abs=1e-3), 0, pytest.approx(3, abs=2e-3),
    ]  # fmt: skip
