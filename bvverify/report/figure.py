"""Figures as SVG elements that take their text colour from the page around them."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

TEXT_COLOUR = "#010203"
"""Stands for the page's text colour; nothing else may be drawn in it."""
_COLOURED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")


@contextmanager
def page_style(name: str) -> Iterator[None]:
    """Draw figures for pages; `name`, unique on the page, keeps the identifiers of two figures apart."""
    style: dict[Any, Any] = dict.fromkeys(_COLOURED, TEXT_COLOUR)
    with mpl.rc_context(style | {"svg.fonttype": "none", "font.size": 9, "svg.hashsalt": name}):
        yield


def svg_element(figure: Figure, *, label: str = "") -> str:
    """Return the figure as an `<svg>` element as wide as its place.

    `label` says what the figure shows, for readers who cannot see it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(TEXT_COLOUR, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1), count=1
    )
    used = set(re.findall(r"#([\w.-]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1) if label else text
