"""The same questions about two models or targets, and the verdicts side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from bvverify.compare.comparison import Comparison
from bvverify.compare.subjects import Progress
from bvverify.evidence import Verdict, Witness
from bvverify.load.inputs import Images
from bvverify.network import IntArray
from bvverify.queries import Query, RegionKind, Robustness, TieRule, region_around
from bvverify.search import Outcome
from bvverify.verify import Verifier


@dataclass(frozen=True)
class Questions:
    """What is asked about every image."""

    radii: tuple[Fraction, ...]
    region: RegionKind = RegionKind.PIXELS
    clip: tuple[Fraction, Fraction] | None = (Fraction(0), Fraction(1))
    """For floats: the lowest and the highest input."""
    tie: TieRule = TieRule.LOWEST_INDEX


@dataclass(frozen=True, eq=False)
class SharedWitness:
    """An input that violates the property on one side, given to both."""

    real: npt.NDArray[np.float32]
    """The input, in the shape of the side that it violates."""
    outputs: tuple[IntArray, IntArray]
    """Output bytes of the first and of the second side, int64 (classes,)."""


@dataclass(frozen=True, eq=False)
class VerdictPair:
    """Both sides' verdicts on one question."""

    position: int
    """The image's place in its file."""
    radius: Fraction
    label: int
    first: Verdict
    second: Verdict
    witness: SharedWitness | None
    """Where the verdicts differ: the violated side's witness."""

    @property
    def differs(self) -> bool:
        """Whether one side is robust and the other violated."""
        return _differ(self.first, self.second)

    @property
    def undecided(self) -> bool:
        """Whether a side is unknown, so that nothing is said about a difference."""
        return Outcome.UNKNOWN in (self.first.outcome, self.second.outcome)


def compare_verdicts(
    first: Verifier,
    second: Verifier,
    images: Images,
    comparison: Comparison,
    questions: Questions,
    *,
    progress: Progress = lambda _: None,
) -> tuple[VerdictPair, ...]:
    """Return both verdicts on every image of `comparison` and every radius, images first.

    `first`, `second` and `images` are those that were compared.  The property is that of the image's label, or,
    where the file has none, of the class that the first side predicts: both sides are asked the same.  `progress` is
    told the number of questions in all.

    Raises `UsageError` for a label that is no output, `InputError` for images that the region does not take,
    `InternalError` if a witness fails its replay.
    """
    labels = comparison.first.classes if comparison.labels is None else comparison.labels
    fitted = [images.shaped(verifier.lowered.network.input_shape).images for verifier in (first, second)]
    pairs = []
    for position, label in zip(comparison.positions.tolist(), labels.tolist(), strict=True):
        wanted = Robustness(label, first.lowered.network.outputs, questions.tie)
        for radius in questions.radii:
            verdicts = []
            for verifier, source in zip((first, second), fitted, strict=True):
                region = region_around(source[position], questions.region, radius, questions.clip)
                verdicts.append(verifier.verify(Query(region, wanted)))
            witness = _shared_witness((first, second), verdicts)
            pairs.append(VerdictPair(position, radius, label, verdicts[0], verdicts[1], witness))
            progress(1)
    return tuple(pairs)


def _differ(first: Verdict, second: Verdict) -> bool:
    return {first.outcome, second.outcome} == {Outcome.ROBUST, Outcome.VIOLATED}


def _shared_witness(verifiers: tuple[Verifier, Verifier], verdicts: Sequence[Verdict]) -> SharedWitness | None:
    """Return the witness of verdicts that differ, after each kernel that runs here has confirmed its bytes."""
    found: Witness | None = verdicts[0].witness or verdicts[1].witness
    if found is None or not _differ(verdicts[0], verdicts[1]):
        return None
    outputs = []
    for verifier in verifiers:
        real = found.real.reshape(1, *verifier.lowered.network.input_shape)
        verifier.predictions(real)
        outputs.append(verifier.lowered.network.evaluate(verifier.lowered.quantizer.levels(real))[0])
    return SharedWitness(found.real, (outputs[0], outputs[1]))
