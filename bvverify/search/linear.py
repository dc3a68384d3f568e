"""Stage `bounds`: linear bounds with back-substitution, without splitting; whatever they prove, integers proved."""

from bvverify.bounds import LinearBounds, Rows, Slopes
from bvverify.network import IntArray, StepNetwork
from bvverify.queries import LevelBox, Robustness
from bvverify.search.intervals import bounds_gap, greatest_on_box


def linear_gap(network: StepNetwork, box: LevelBox, question: Robustness) -> int:
    """Return by how many output levels linear bounds miss a proof of `question` for every input of `box`: 0 if they
    prove it.  Choices of slopes are tried in turn.
    """
    gaps = []
    for slopes in Slopes:
        gaps.append(_gap(network, box, question, slopes))
        if gaps[-1] == 0:
            return 0
    return min(gaps)


def _gap(network: StepNetwork, box: LevelBox, question: Robustness, slopes: Slopes) -> int:
    bounds = LinearBounds(network, box.lower, box.upper, slopes=slopes)

    def greatest(value: int, row: IntArray, constant: int) -> int | None:
        back_substituted = bounds.greatest(Rows(value, row[None], (constant,))) or []
        found = [greatest_on_box(bounds.values[value], row, constant), *back_substituted]
        return min((most for most in found if most is not None), default=None)

    return bounds_gap(network, bounds.values, question, greatest)
