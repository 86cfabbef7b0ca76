"""Capture sessions: one person is led through one challenge in front of a camera."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edge.people.enrollment.challenge import (
    Challenge,
    ChallengeError,
    ChallengeProgress,
    ChallengeState,
)
from edge.people.enrollment.observer import EnrollmentObserver
from edge.people.gallery.gallery import Gallery
from edge.types import F32, Frame


@dataclass(frozen=True, slots=True)
class CaptureSession:
    """Leads one person through one challenge; `show` tells the person what to do."""

    observer: EnrollmentObserver
    challenge: Challenge
    gallery: Gallery
    show: Callable[[ChallengeProgress], None]

    def run(self, frames: Iterable[Frame]) -> F32:
        """``(T, D)`` templates of the person who passed.

        Raises:
            ChallengeError: The challenge was not passed.
            GalleryError: Too many challenges failed lately.
        """
        for frame in frames:
            observation = self.observer.observe(frame)
            is_new = not self.challenge.begun
            progress = self.challenge.observe(observation)
            if is_new and self.challenge.begun:
                self.gallery.attempts.begin()
            self.show(progress)
            if progress.state is ChallengeState.FAILED:
                raise self._fail(progress.reason)
            if progress.state is ChallengeState.PASSED:
                self.gallery.attempts.mark_passed()
                return self.challenge.templates
        raise self._fail("the camera ended before the challenge did")

    def _fail(self, reason: str) -> ChallengeError:
        wait_s = self.gallery.attempts.lock_s()
        remedy = f"try again in {wait_s:.0f} s" if wait_s else "try again"
        return ChallengeError(f"no one was enrolled: {reason}; {remedy}")
