"""The figures of a report on a comparison."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from matplotlib.transforms import blended_transform_factory

from bvverify.network import IntArray
from bvverify.report.figure import TEXT_COLOUR, page_style, svg_element
from bvverify.report.page import Markup

_FILLS: tuple[dict[str, Any], dict[str, Any]] = ({"facecolor": "#0072b2"}, {"facecolor": "#d55e00", "hatch": "////"})
"""The first and the second side; colours of Okabe and Ito that stand out from black and from white."""
_MOST_BINS = 16
_BARS_END, _COLUMNS = 0.67, (0.775, 0.88, 0.99)
"""Where, in parts of the figure's width, the bars end, and the columns of both bytes and of their difference."""


def output_bars(
    classes: Sequence[int], first: IntArray, second: IntArray, *, least: int, compared: bool, name: str
) -> Markup:
    """Return both sides' output bytes, two bars per class.

    `classes` chooses the outputs; `first` and `second` int64 (outputs,) are the bytes, none of them below `least`.
    Where bytes are `compared`, classes whose bytes differ stand out, with the difference.
    """
    with page_style(name):
        figure = Figure(figsize=(3.3, 0.24 * len(classes) + 0.08))
        left = 0.03 + 0.025 * len(str(max(classes)))
        axes = figure.add_axes((left, 0, _BARS_END - left, 1))
        axes.spines[:].set_visible(False)
        places = np.arange(len(classes))
        shown = [values[list(classes)] - least for values in (first, second)]
        for values, fill, shift in zip(shown, _FILLS, (-0.19, 0.19), strict=True):
            axes.barh(places + shift, values, height=0.36, edgecolor=TEXT_COLOUR, linewidth=0.4, **fill)
        axes.set_xlim(0, max(1, *(int(values.max()) for values in shown)))
        axes.set_ylim(len(classes) - 0.45, -0.55)
        axes.xaxis.set_major_locator(NullLocator())
        axes.set_yticks(places, [str(one) for one in classes])
        axes.tick_params(length=0)
        for place, one in enumerate(classes):
            _write_bytes(axes, place, int(first[one]), int(second[one]), compared)
        pairs = ", ".join(f"{one}: {int(first[one])} and {int(second[one])}" for one in classes)
        return Markup(svg_element(figure, label=f"Output bytes by class: {pairs}"))


def distance_bars(distances: IntArray, *, name: str) -> Markup:
    """Return how many images have each largest difference of an output byte; `distances` int64 (n,), some above 0."""
    with page_style(name):
        found = distances[distances > 0]
        low, high = int(found.min()), int(found.max())
        width = (high - low) // _MOST_BINS + 1
        edges = np.arange(low, high + width + 1, width)
        heights = np.histogram(found, edges)[0]
        figure = Figure(figsize=(3.8, 2.1), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        places = np.arange(len(heights))
        bars = axes.bar(places, heights, width=0.7, edgecolor=TEXT_COLOUR, linewidth=0.6, facecolor="#0072b2")
        axes.bar_label(bars, [f"{height:,}" if height else "" for height in heights.tolist()], padding=2, fontsize=8)
        starts = edges[:-1].tolist()
        steep = width > 1
        ticks = [f"{start}-{start + width - 1}" if steep else str(start) for start in starts]
        axes.set_xticks(places, ticks, rotation=60 if steep else 0)
        axes.set_xlim(-0.6, max(len(heights), 4) - 0.4)
        axes.set(xlabel="largest difference of an output byte", ylabel="images")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        counts = ", ".join(f"{tick}: {height}" for tick, height in zip(ticks, heights.tolist(), strict=True))
        return Markup(svg_element(figure, label=f"Images by largest difference of an output byte: {counts}"))


def _write_bytes(axes: Axes, place: int, first: int, second: int, compared: bool) -> None:
    """Write the bytes of one class beside its bars."""
    differ = compared and first != second
    weight = "bold" if differ else "normal"
    beside = blended_transform_factory(axes.figure.transSubfigure, axes.transData)
    texts = (str(first), str(second), f"{second - first:+d}".replace("-", "\N{MINUS SIGN}") if differ else "")
    for column, text in zip(_COLUMNS, texts, strict=True):
        axes.text(column, place, text, transform=beside, ha="right", va="center", weight=weight)
