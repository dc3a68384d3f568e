"""Stage `bounds`: linear bounds with back-substitution, without splitting; whatever they prove, integers proved."""

from dataclasses import dataclass

from bvverify.bounds import LinearBounds, Rows, Slopes
from bvverify.network import IntArray, StepNetwork
from bvverify.queries import LevelBox, Overtaking, Robustness
from bvverify.search.intervals import Bounds, greatest_on_box, open_ways


@dataclass(frozen=True, eq=False)
class Bounded:
    """What linear bounds say about a question."""

    values: list[Bounds]
    """Bounds of every value of the network on the box."""
    ways: list[tuple[int, list[Overtaking]]]
    """The ways to violate the property that they do not exclude, each after the output levels by which they miss it."""

    @property
    def gap(self) -> int:
        """By how many output levels a proof is missed: 0 if there is one."""
        return max((levels for levels, _ in self.ways), default=0)


def linear_gap(network: StepNetwork, box: LevelBox, question: Robustness) -> int:
    """Return by how many output levels linear bounds miss a proof of `question` for every input of `box`: 0 if they
    prove it.
    """
    return linear_bounds(network, box, question).gap


def linear_bounds(network: StepNetwork, box: LevelBox, question: Robustness) -> Bounded:
    """Bound all values on `box`, until `question` is proved.

    Choices of slopes are tried one after the other; each starts from the bounds of those before, and what any of them
    says about a linear form counts.
    """
    tried: list[LinearBounds] = []

    def greatest(value: int, row: IntArray, constant: int) -> int | None:
        found = [greatest_on_box(tried[-1].values[value], row, constant)]
        for bounds in tried:
            found += bounds.greatest(Rows(value, row[None], (constant,))) or []
        return min((most for most in found if most is not None), default=None)

    ways: list[tuple[int, list[Overtaking]]] = []
    for slopes in Slopes:
        known = tried[-1].values if tried else None
        tried.append(LinearBounds(network, box.lower, box.upper, slopes=slopes, known=known))
        ways = open_ways(network, tried[-1].values, question, greatest)
        if not ways:
            break
    return Bounded(tried[-1].values, ways)
