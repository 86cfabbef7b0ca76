"""How far a stream is behind: its own stamps against the clock.

A camera that is not read in time waits in sockets, where nobody sees it. But its stamps go on: a
packet that is read ``now_s`` and stamped ``stamp_s`` is late by as much as the difference exceeds
the smallest one of this connection.
"""

from __future__ import annotations

import math

MAX_DRIFT = 200e-6  # of a camera's clock against ours
MAX_STEP_S = 10.0  # a longer one, or one back, is another time line
STUCK_S = 1.0  # stamps that stand still for so long say nothing
SETTLED = 0.5  # share of `max_lag_s` at which a camera is no longer late
CHECK_S = 5.0  # of passing over; it must have helped by then
LEAST_GAIN_S = 1.0
WAIT_MEAN_S = 3.0  # time constant of the share of the time that reading waits
WAITS = 0.5  # share from which it is the camera that is waited for


class LagMeter:
    """Measures how late packets are, in the order in which they are read."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Take the next packet for one that is in time."""
        self._least_s: float | None = None  # offset of the clock from the stamps
        self._stamp_s = self._at_s = self._lag_s = 0.0  # of the newest picture

    def measure(self, stamp_s: float | None, now_s: float) -> float:
        """The lag of a packet, in seconds; 0 where its stamp says nothing.

        Args:
            stamp_s: Its stamp, None without one.
            now_s: When it was read, monotonic.
        """
        if stamp_s is None:
            return 0.0
        step_s = stamp_s - self._stamp_s
        if self._least_s is None or not -STUCK_S <= step_s <= MAX_STEP_S:
            return self._begin(stamp_s, now_s)
        if step_s <= 0:
            is_stuck = now_s - self._at_s > STUCK_S
            return self._begin(stamp_s, now_s) if is_stuck else self._lag_s
        least_s, offset_s = self._least_s + MAX_DRIFT * (now_s - self._at_s), now_s - stamp_s
        self._least_s = min(least_s, offset_s)
        self._lag_s = offset_s - self._least_s
        self._stamp_s, self._at_s = stamp_s, now_s
        return self._lag_s

    def _begin(self, stamp_s: float, now_s: float) -> float:
        self._least_s = now_s - stamp_s
        self._stamp_s, self._at_s, self._lag_s = stamp_s, now_s, 0.0
        return 0.0


class LagLimit:
    """Passes over what is too late, up to a key frame that is not.

    It gives up, and measures anew, where that is no help: when reading waits for the camera, or
    passing over does not catch up. Then the network is slow, or the stamps are wrong.

    Args:
        max_lag_s: Pass over a stream that is later than this, in seconds.

    Attributes:
        lag_s: Of the last packet. A picture comes out when the next one begins, so that of two
            packets the smaller one counts.
        late: Packets so far that were passed over.
        is_late: Whether the stream is passed over at present.
        is_hopeless: Whether it gave up at the last packet.
    """

    def __init__(self, max_lag_s: float) -> None:
        self.lag_s = 0.0
        self.late = 0
        self.is_late = self.is_hopeless = False
        self._max_lag_s = max_lag_s
        self._meter = LagMeter()
        self._last_s = 0.0
        self._read_s = -math.inf
        self._waiting = 0.0  # share of the time
        self._check_s = self._check_lag_s = 0.0

    def admit(
        self, stamp_s: float | None, now_s: float, waited_s: float, *, key_frame: bool
    ) -> bool:
        """Whether to decode a packet.

        Args:
            stamp_s: Its stamp, None without one.
            now_s: When it was read, monotonic.
            waited_s: How long reading it took.
            key_frame: Whether decoding can begin with it.
        """
        lag_s = self._meter.measure(stamp_s, now_s)
        self.lag_s, self._last_s = min(lag_s, self._last_s), lag_s
        self._note_wait(now_s, waited_s)
        self.is_hopeless = False
        if not self.is_late:
            if self.lag_s > self._max_lag_s:
                self._begin(now_s)
        elif self.lag_s <= SETTLED * self._max_lag_s:
            self.is_late = not key_frame
        elif now_s - self._check_s >= CHECK_S:
            if self._check_lag_s - self.lag_s < LEAST_GAIN_S:
                self._give_up()
            self._check_s, self._check_lag_s = now_s, self.lag_s
        self.late += self.is_late
        return not self.is_late

    def _begin(self, now_s: float) -> None:
        if self._waiting >= WAITS:
            self._give_up()
        else:
            self.is_late, self._check_s, self._check_lag_s = True, now_s, self.lag_s

    def _give_up(self) -> None:
        self._meter.restart()
        self.lag_s = self._last_s = 0.0
        self.is_late, self.is_hopeless = False, True

    def _note_wait(self, now_s: float, waited_s: float) -> None:
        passed_s, self._read_s = now_s - self._read_s, now_s
        if passed_s > 0:
            share = min(waited_s / passed_s, 1.0)
            self._waiting += (share - self._waiting) * -math.expm1(-passed_s / WAIT_MEAN_S)
