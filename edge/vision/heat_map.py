"""Heat maps: numbers over a picture, drawn as colors on it."""

from __future__ import annotations

import cv2
import numpy as np

from edge.types import F32, U8

_STRENGTH = 0.6  # of the color where the map is highest


def overlay(rgb: U8, heat: F32) -> U8:
    """Color a picture by a map ``(h, w)`` of any size that covers it.

    What is zero or below stays gray, the highest value is red. A map without positive values
    colors nothing.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    height, width = rgb.shape[:2]
    large = cv2.resize(heat, (width, height), interpolation=cv2.INTER_CUBIC)
    share = np.clip(large / max(float(heat.max(initial=0)), 1e-12), 0, 1)  # (H, W)
    level = np.asarray(np.round(share * 255), np.uint8)
    color = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    gray = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    weight = (_STRENGTH * np.sqrt(share))[..., None]
    return np.asarray(gray * (1 - weight) + color * weight, np.uint8)
