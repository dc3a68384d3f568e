"""The figures of a report on results."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from bvverify.report.figure import TEXT_COLOUR, page_style, svg_element
from bvverify.report.page import Markup
from bvverify.report.results import Counts, State
from bvverify.runs.store import Result
from bvverify.search.decision import Outcome

_FILLS: dict[State, dict[str, Any]] = {
    State.ROBUST: {"facecolor": "#0072b2"},
    State.UNKNOWN: {"facecolor": "#cc79a7", "hatch": "////"},
    State.VIOLATED: {"facecolor": "#d55e00"},
    State.MISCLASSIFIED: {"facecolor": "#d55e00", "hatch": "xxxx"},
    State.UNASKED: {"facecolor": "none", "hatch": "\\\\"},
}
"""Colours of Okabe and Ito that stand out from black and from white."""
STACK = tuple(_FILLS)
"""The states in bars, from below: those that may be robust lie next to those that are."""
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#888888")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_DASHES = ("-", "--", ":")
_SOONEST = 1e-3
"""Seconds; what took less counts as this."""
_MOST_BINS = 40
_MOST_TICKS = 12


@dataclass(frozen=True)
class LineStyle:
    """How a line is told from others: by colour, marker and dashes."""

    number: int

    def drawn(self) -> dict[str, Any]:
        """Return matplotlib's arguments."""
        return {
            "color": _COLOURS[self.number % len(_COLOURS)],
            "marker": _MARKERS[self.number % len(_MARKERS)],
            "linestyle": _DASHES[self.number // len(_COLOURS) % len(_DASHES)],
            "linewidth": 1.6,
            "markersize": 5,
        }


def verdict_bars(groups: Sequence[tuple[str, Counts]], *, name: str, label: str) -> Markup:
    """Return stacked bars of verdicts, one bar per radius."""
    with page_style(name):
        figure = Figure(figsize=(3.2, 2.1), layout="constrained")
        axes = _bare_axes(figure)
        places, base = np.arange(len(groups)), np.zeros(len(groups))
        for state, fill in _FILLS.items():
            heights = np.array([counts.state(state) for _, counts in groups])
            if not heights.any():
                continue
            axes.bar(places, heights, bottom=base, width=0.7, edgecolor=TEXT_COLOUR, linewidth=0.6, **fill)
            base = base + heights
        shown = places[:: -(-len(groups) // _MOST_TICKS)]
        texts = [groups[place][0] for place in shown.tolist()]
        steep = sum(len(text) for text in texts) > 30
        turned: dict[str, Any] = (
            {"rotation": 60, "horizontalalignment": "right", "rotation_mode": "anchor"} if steep else {}
        )
        axes.set_xticks(shown, texts, **turned)
        axes.set_ylim(0, 1.05 * max(base.max(), 1))
        axes.set_xlim(-0.6, max(len(groups), 4) - 0.4)
        axes.set(xlabel="radius", ylabel="queries")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        return Markup(svg_element(figure, label=label))


def state_swatch(state: State, *, name: str) -> Markup:
    """Return a small sample of how bars show a state."""
    sample = Rectangle((0.02, 0.05), 0.96, 0.9, edgecolor=TEXT_COLOUR, linewidth=0.6, **_FILLS[state])
    return _swatch(sample, f"{name} {state}")


def line_swatch(style: LineStyle) -> Markup:
    """Return a small sample of a line."""
    return _swatch(Line2D([0, 0.5, 1], [0.5] * 3, markevery=[1], **style.drawn()), f"line {style.number}")


def cactus(lines: Iterable[tuple[LineStyle, Sequence[Result]]], *, end: float, name: str, label: str) -> Markup:
    """Return how many queries were decided within how much time; the time axis leads to `end` seconds."""
    with page_style(name):
        figure = Figure(figsize=(3.8, 2.6), layout="constrained")
        axes = _bare_axes(figure)
        for style, results in lines:
            _draw_line(axes, style, results, end)
        axes.set_xscale("log")
        axes.set_xlim(_SOONEST, end * 1.1)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(LogLocator(base=10, numticks=7))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _time(seconds)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set(xlabel="time per query", ylabel="decided")
        axes.grid(alpha=0.25, linewidth=0.6, color="#888888")
        return Markup(svg_element(figure, label=label))


def longest(results: Iterable[Result]) -> float:
    """Return where the time axis of these queries ends, in seconds."""
    return max((result.seconds for result in results if result.outcome is not None), default=0.0) + 10 * _SOONEST


def gap_bars(gaps: Sequence[int], *, name: str, label: str) -> Markup:
    """Return how often each gap of an unknown occurs."""
    with page_style(name):
        figure = Figure(figsize=(3.8, 2.1), layout="constrained")
        axes = _bare_axes(figure)
        low, high = min(gaps), max(gaps)
        width = (high - low) // _MOST_BINS + 1
        edges = np.arange(low, high + width + 1, width)
        heights, _ = np.histogram(gaps, edges)
        axes.bar(
            edges[:-1], heights, width=width, align="edge", edgecolor=TEXT_COLOUR, linewidth=0.6, facecolor="#cc79a7"
        )
        axes.set(xlabel="output levels that the bounds miss", ylabel="queries")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(6, integer=True))
        if width == 1:
            shown = edges[: -1 : -(-len(edges) // _MOST_TICKS)]
            axes.set_xticks(shown + 0.5, [str(gap) for gap in shown.tolist()])
        return Markup(svg_element(figure, label=label))


def _draw_line(axes: Axes, style: LineStyle, results: Sequence[Result], end: float) -> None:
    decided = (Outcome.ROBUST, Outcome.VIOLATED)
    times = np.sort([max(result.seconds, _SOONEST) for result in results if result.outcome in decided])
    xs = np.concatenate([[_SOONEST], times, [end]])
    ys = np.concatenate([np.arange(len(times) + 1), [len(times)]])
    # Markers of coinciding lines stand beside each other.
    axes.plot(xs, ys, drawstyle="steps-post", markevery=(0.04 + 0.02 * (style.number % 5), 0.22), **style.drawn())


def _bare_axes(figure: Figure) -> Axes:
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _swatch(artist: Artist, name: str) -> Markup:
    with page_style(name):
        figure = Figure(figsize=(0.36, 0.2))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.add_artist(artist)
        return Markup(svg_element(figure))


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.5g} s"
