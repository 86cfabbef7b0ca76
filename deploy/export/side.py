"""Sides of windows as they are typed: ``64,96`` or ``48x96``."""

from __future__ import annotations

from dataclasses import dataclass

from edge.compat import Self
from edge.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Side:
    """A side of windows.

    Attributes:
        width: In pixels of the input; 0 is in proportion to the classifier's input.
        height: In pixels of the input.
    """

    width: int
    height: int

    def fit(self, input_wh: tuple[int, int]) -> tuple[int, int]:
        """Width and height of the window for a classifier of that input."""
        if not self.height:
            return input_wh
        width = self.width or round(self.height * input_wh[0] / input_wh[1])
        return width, self.height


@dataclass(frozen=True, slots=True)
class AsDetector:
    """How a classifier becomes a detector.

    Attributes:
        sides: Of the windows.
        background: The class that is no object; empty takes the one that is called so.
    """

    sides: tuple[Side, ...]
    background: str = ""

    @classmethod
    def parse(cls, sides: str, background: str) -> Self:
        """Read sides that are separated by commas; none is the classifier's input.

        Raises:
            ConfigError: A side is no number of pixels.
        """
        found = []
        for part in sides.split(",") if sides else ():
            width, cross, height = part.strip().partition("x")
            numbers = (width, height) if cross else ("0", width)
            if not all(number.isdecimal() for number in numbers) or not int(numbers[1]):
                raise ConfigError(
                    f"--side {sides}: must be heights or WIDTHxHEIGHT in pixels, say 64,96 or "
                    "32x64,48x96"
                )
            found.append(Side(*map(int, numbers)))
        return cls(tuple(found) or (Side(0, 0),), background)
