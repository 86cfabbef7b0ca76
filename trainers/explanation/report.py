"""The report of `edge-train explain`: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import cv2

from edge.types import U8

_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 80)
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.row { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; } figcaption { font-size: .8rem; max-width: 26rem; }
img { display: block; max-width: 100%; border-radius: 3px; }
table { border-collapse: collapse; } td, th { padding: .1rem .8rem .1rem 0; text-align: left; }
.legend { height: .7rem; width: 12rem; border-radius: 3px; background: linear-gradient(90deg,
  #30123b, #4686fb, #1ae4b6, #a4fc3c, #faba39, #e4460a, #7a0403); }
"""


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """A picture and what is said below it.

    Attributes:
        rgb: ``(h, w, 3)`` uint8.
        sharp: Kept without loss, for what is enlarged.
    """

    rgb: U8
    caption: str = ""
    sharp: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report.

    Attributes:
        text: What is to be seen; what is said where ``panels`` is empty, too.
        heated: Whether it shows heat maps, whose legend is drawn.
    """

    title: str
    text: str
    panels: Sequence[Panel] = ()
    heated: bool = False


def write_html(title: str, facts: Iterable[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The report; ``facts`` are rows of a table at its top."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts
    )
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1><table>{rows}</table>"
        f"{''.join(map(_write_section, sections))}</body></html>\n"
    )


def _write_section(section: Section) -> str:
    legend = (
        '<div class="legend" role="img" aria-label="from no evidence to the most"></div>'
        "<p>from no evidence to the most</p>"
    )
    return (
        f"<section><h2>{escape(section.title)}</h2><p>{escape(section.text)}</p>"
        f"{legend if section.heated and section.panels else ''}"
        f'<div class="row">{"".join(map(_write_panel, section.panels))}</div></section>'
    )


def _write_panel(panel: Panel) -> str:
    bgr = cv2.cvtColor(panel.rgb, cv2.COLOR_RGB2BGR)
    kind = ".png" if panel.sharp else ".jpg"
    _, encoded = cv2.imencode(kind, bgr, [] if panel.sharp else _JPEG)
    source = base64.b64encode(encoded.tobytes()).decode()
    mime = "image/png" if panel.sharp else "image/jpeg"
    height, width = panel.rgb.shape[:2]
    text = escape(panel.caption)
    return (
        f'<figure><img src="data:{mime};base64,{source}" width="{width}" height="{height}" '
        f'alt="{text}"><figcaption>{text}</figcaption></figure>'
    )
