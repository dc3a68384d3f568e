"""The largest radius: what bisection concludes from verdicts, and that it is true."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bvverify as bv
from bvverify.errors import InternalError, UsageError
from bvverify.evidence import Verdict, Witness
from bvverify.measure import LargestRadius, largest_radius
from bvverify.queries import LevelBox, Query, Robustness
from bvverify.search import Decision, Outcome
from tests.models import small_dense
from tests.networks import points_of, violates

QUESTION = Robustness(0, 2)


@dataclass(frozen=True)
class Scripted:
    """Numbers 0 to `radius` as region, violated by those from `least` on; radii in `hard` are too hard to decide."""

    least: int
    hard: frozenset[int] = frozenset()
    late: int = 0
    """By how much a witness exceeds the least one, where the region has room."""

    def verify(self, query: Any) -> Verdict:
        radius = query.region
        if radius in self.hard:
            return verdict(Outcome.UNKNOWN)
        if radius >= self.least:
            return verdict(Outcome.VIOLATED, min(self.least + self.late, radius))
        return verdict(Outcome.ROBUST)

    def pose(self, query: Any) -> Any:
        @dataclass
        class Seen:
            box: LevelBox

        return Seen(LevelBox.of([0], [query.region]))

    def conclude(self, posed: Any, decision: Decision, *, seconds: float) -> Verdict:
        assert decision.witness is not None
        assert posed.box.contains(decision.witness)
        return verdict(decision.outcome, int(decision.witness[0]))

    def search(self, maximum: int, asked: list[int] | None = None) -> LargestRadius:
        def note(radius: int, _: Verdict) -> None:
            if asked is not None:
                asked.append(radius)

        subject: Any = self
        regions: Any = lambda radius: radius  # noqa: E731
        return largest_radius(subject, self.verify, regions, QUESTION, maximum=maximum, asked=note)


def verdict(outcome: Outcome, witness: int | None = None) -> Verdict:
    found = None
    if witness is not None:
        found = Witness(np.zeros(1, np.float32), np.array([witness]), np.zeros(2, np.int64), True, "replayed")
    return Verdict(outcome, "target", "stage", "", 1.0, "", 0, 0, found)


maxima = st.integers(0, 40)


@given(maxima, st.integers(0, 45), st.integers(0, 5))
def test_without_unknowns_the_radius_is_found(maximum: int, least: int, late: int) -> None:
    found = Scripted(least, late=late).search(maximum)
    assert found.robust == (None if least == 0 else min(least - 1, maximum))
    assert found.violated == (least if least <= maximum else None)
    assert not found.undecided
    assert (found.witness is None) == (least > maximum)
    assert len(found.verdicts) <= 2 * (maximum + 2).bit_length()


@given(maxima, st.integers(0, 45), st.frozensets(st.integers(0, 40)), st.integers(0, 5))
def test_what_is_claimed_is_true(maximum: int, least: int, hard: frozenset[int], late: int) -> None:
    found = Scripted(least, hard, late).search(maximum)
    assert found.robust is None or found.robust < least
    assert found.violated is None or least <= found.violated <= maximum
    claimed = range(0 if found.robust is None else found.robust + 1)
    assert [*claimed, *found.undecided, *range(found.undecided.stop, maximum + 1)] == list(range(maximum + 1))
    assert found.witness is None or found.witness.outcome is Outcome.VIOLATED


@given(maxima, st.integers(0, 45), st.integers(0, 6), st.integers(0, 6))
def test_one_gap_of_unknowns_is_told_exactly(maximum: int, least: int, before: int, after: int) -> None:
    hard = frozenset(range(least - before, least + after))
    found = Scripted(least, hard, late=50).search(maximum)
    first, last = max(0, least - before), min(least + after, maximum + 1)
    assert list(found.undecided) == list(range(first, last))


def test_a_witness_counts_for_the_least_radius_that_holds_it() -> None:
    asked: list[int] = []
    found = Scripted(7).search(100, asked)
    assert (found.robust, found.violated) == (6, 7)
    assert asked[:2] == [50, 7]
    assert list(found.verdicts) == asked


def test_a_witness_that_contradicts_a_proof_is_an_internal_error() -> None:
    class Liar(Scripted):
        def verify(self, query: Any) -> Verdict:
            return verdict(Outcome.ROBUST) if query.region < 5 else verdict(Outcome.VIOLATED, 2)

    with pytest.raises(InternalError, match="radius 2, and radius 4 was proved"):
        Liar(0).search(8)


def test_a_negative_maximum_is_refused() -> None:
    with pytest.raises(UsageError, match="negative"):
        Scripted(0).search(-1)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_radius_that_enumeration_finds(seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, 6).astype(np.uint8)
    with bv.Verifier(bv.load_model(small_dense()), target=bv.Target.parse("qnnpack"), seconds=60) as verifier:
        center = bv.PixelBall(image, 0)
        label = int(verifier.classes(center.center()[None])[0])
        question = bv.Robustness(label, 3)

        def violated(radius: int) -> bool:
            outputs = verifier.lowered.network.evaluate(points_of(verifier.box(bv.PixelBall(image, radius))))
            return any(violates(question, row) for row in np.unique(outputs, axis=0).tolist())

        found = verifier.largest_radius(lambda radius: bv.PixelBall(image, radius), question, maximum=6)
        assert not found.undecided
        least = next((radius for radius in range(7) if violated(radius)), None)
        assert found.violated == least
        assert found.robust == (6 if least is None else least - 1)
        if found.witness is not None:
            assert found.witness.witness is not None
            assert found.witness.witness.replayed
            pixels = np.rint(found.witness.witness.real * 255)
            assert abs(pixels - image).max() == least
        wrong = verifier.largest_radius(
            lambda radius: bv.PixelBall(image, radius), bv.Robustness((label + 1) % 3, 3), maximum=200
        )
        assert (wrong.robust, wrong.violated) == (None, 0)
        assert verifier.verify(Query(center, bv.Robustness((label + 1) % 3, 3))).outcome is Outcome.VIOLATED
