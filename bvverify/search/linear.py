"""Stage `bounds`: linear bounds with back-substitution, without splitting; whatever they prove, integers proved."""

from bvverify.bounds import LinearBounds, Rows, Slopes
from bvverify.network import IntArray, StepNetwork
from bvverify.queries import LevelBox, Robustness
from bvverify.search.intervals import bounds_gap, greatest_on_box


def linear_gap(network: StepNetwork, box: LevelBox, question: Robustness) -> int:
    """Return by how many output levels linear bounds miss a proof of `question` for every input of `box`: 0 if they
    prove it.

    Choices of slopes are tried one after the other; each starts from the bounds of those before, and what any of them
    says about a linear form counts.
    """
    tried: list[LinearBounds] = []

    def greatest(value: int, row: IntArray, constant: int) -> int | None:
        found = [greatest_on_box(tried[-1].values[value], row, constant)]
        for bounds in tried:
            found += bounds.greatest(Rows(value, row[None], (constant,))) or []
        return min((most for most in found if most is not None), default=None)

    gap = 0
    for slopes in Slopes:
        known = tried[-1].values if tried else None
        tried.append(LinearBounds(network, box.lower, box.upper, slopes=slopes, known=known))
        gap = bounds_gap(network, tried[-1].values, question, greatest)
        if gap == 0:
            break
    return gap
