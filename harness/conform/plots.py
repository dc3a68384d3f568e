"""One plot per layer."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bvverify.network import IntArray
from bvverify.report.figure import TEXT_COLOUR, page_style, svg_element
from harness.conform.records import LayerReport, Thresholds

_STATES = {
    "no threshold within reach": "none",
    "both sides met": "#0072b2",
    "one side met, the other proved unreachable": "#56b4e9",
    "one side met": "#e69f00",
    "no side met": "#d55e00",
    "proved unreachable": "#999999",
}
"""Colours of Okabe and Ito, which colour-blind readers tell apart."""


def layer_plot(layer: LayerReport) -> str:
    """Return an SVG element: thresholds met and accumulators executed, or how often each byte was put out."""
    with page_style(layer.name):
        drawn = layer.thresholds
        if drawn is None or drawn.reach is None:
            figure = Figure(figsize=(6.4, 2.2), layout="constrained")
            _draw_bytes(figure.subplots(), layer.produced)
        else:
            figure = Figure(figsize=(6.4, 5.2), layout="constrained")
            upper, lower = figure.subplots(2, 1, height_ratios=(3, 2))
            _draw_thresholds(upper, drawn)
            _draw_reach(lower, drawn)
        return svg_element(figure)


def _draw_thresholds(axes: Axes, drawn: Thresholds) -> None:
    states = _states(drawn)
    colours = list(_STATES.values())
    axes.imshow(
        states,
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=len(colours) - 0.5,
        aspect="auto",
        interpolation="nearest",
        extent=(0.5, states.shape[1] + 0.5, len(states) - 0.5, -0.5),
    )
    axes.set(xlabel="threshold of level", ylabel="output channel", title="thresholds")
    names = list(_STATES)
    handles = [
        Patch(facecolor=colours[state], edgecolor=TEXT_COLOUR, linewidth=0.5, label=names[state])
        for state in np.unique(states).tolist()
    ]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False)


def _states(drawn: Thresholds) -> IntArray:
    """Return the number of each threshold's state [C, T]; levels that share a threshold share its state."""
    met, ruled_out = (drawn.sides & drawn.hit), (drawn.sides & drawn.unreachable & ~drawn.hit)
    wanted, hits, gone = (flags.sum(axis=2) for flags in (drawn.sides, met, ruled_out))
    names = list(_STATES)
    chosen = np.select(
        [wanted == 0, hits == wanted, gone == wanted, hits + gone == wanted, hits > 0],
        [names.index(name) for name in (names[0], names[1], names[5], names[2], names[3])],
        names.index(names[4]),
    )
    return np.asarray(chosen, dtype=np.int64)


def _draw_reach(axes: Axes, drawn: Thresholds) -> None:
    assert drawn.reach is not None
    assert drawn.executed is not None
    edges = np.arange(len(drawn.reach) + 1) - 0.5
    for ends, colour, label in ((drawn.reach, "#999999", "reachable"), (drawn.executed, "#0072b2", "executed")):
        axes.stairs(ends[:, 1], edges, baseline=ends[:, 0], fill=True, color=colour, label=label)
    axes.set(xlabel="output channel", ylabel="accumulator", title="accumulators")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=2, frameon=False)


def _draw_bytes(axes: Axes, produced: IntArray) -> None:
    axes.stairs(produced, np.arange(len(produced) + 1) - 0.5, fill=True, color="#0072b2")
    axes.set_yscale("symlog")
    axes.set_ylim(bottom=0)
    axes.set(xlabel="output byte, from the least", ylabel="times executed", title="bytes that the layer put out, alone")
