"""The same questions to two sides."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from torch import nn

from bvverify.compare import Comparison, Questions, VerdictPair, compare_subjects, compare_verdicts
from bvverify.errors import UsageError
from bvverify.evidence import Verdict
from bvverify.load.inputs import Images
from bvverify.queries import RegionKind
from bvverify.search import Outcome
from bvverify.verify import Verifier
from tests.compare.planted import HERE, dense, deployed, inputs, layer_bytes


def ask(
    modules: tuple[nn.Sequential, nn.Sequential], images: Images, radii: Sequence[str], positions: Sequence[int]
) -> tuple[Comparison, tuple[VerdictPair, ...], list[int]]:
    questions = Questions(tuple(map(Fraction, radii)), RegionKind.FLOATS)
    steps: list[int] = []
    with (
        Verifier(deployed(modules[0]), target=HERE, seconds=20) as first,
        Verifier(deployed(modules[1]), target=HERE, seconds=20) as second,
    ):
        found = compare_subjects(first, second, images, positions=positions)
        return found, compare_verdicts(first, second, images, found, questions, progress=steps.append), steps


def other_classes(modules: tuple[nn.Sequential, nn.Sequential], images: Images) -> list[int]:
    first, second = (layer_bytes(module, images.real)[-1].argmax(axis=1) for module in modules)
    return np.flatnonzero(first != second).tolist()


@pytest.mark.usefixtures("no_kernels")
def test_a_model_agrees_with_itself() -> None:
    _, pairs, steps = ask((dense(), dense()), inputs(labels=True), ["0", "1/1000"], [4, 2])
    assert [(pair.position, pair.radius) for pair in pairs] == [
        (position, radius) for position in (4, 2) for radius in (0, Fraction(1, 1000))
    ]
    assert not any(pair.differs for pair in pairs)
    assert all(pair.witness is None for pair in pairs)
    assert sum(steps) == 4


@pytest.mark.usefixtures("no_kernels")
def test_an_image_that_one_side_misclassifies_is_robust_and_violated() -> None:
    modules, images = (dense(), dense(changed=20)), inputs(labels=True)
    position = other_classes(modules, images)[-1]
    _, (pair,), _ = ask(modules, images, ["0"], [position])
    assert (pair.first.outcome, pair.second.outcome) == (Outcome.ROBUST, Outcome.VIOLATED)
    assert pair.differs
    assert pair.witness is not None
    assert np.array_equal(pair.witness.real, images.real[position])
    for found, module in zip(pair.witness.outputs, modules, strict=True):
        assert np.array_equal(found, layer_bytes(module, images.real)[-1][position])


def test_a_searched_witness_is_given_to_both_sides() -> None:
    modules, images = (dense(changed=20), dense()), inputs(labels=True)
    right = [row for row in range(len(images.images)) if row not in other_classes(modules, images)]
    _, pairs, _ = ask(modules, images, ["1/50"], right[:12])
    searched = [pair for pair in pairs if pair.differs]
    assert searched
    for pair in searched:
        assert pair.witness is not None
        assert np.abs(pair.witness.real - images.real[pair.position]).max() <= 1 / 50
        outputs = [layer_bytes(module, pair.witness.real[None])[-1][0] for module in modules]
        assert all(map(np.array_equal, outputs, pair.witness.outputs))
        classes = [int(one.argmax()) for one in outputs]
        violated = [verdict.outcome is Outcome.VIOLATED for verdict in (pair.first, pair.second)]
        assert [one != pair.label for one in classes] == violated


@pytest.mark.usefixtures("no_kernels")
def test_two_violations_are_no_difference() -> None:
    images = inputs(labels=True)
    assert images.labels is not None
    _, (pair,), _ = ask((dense(), dense()), replace(images, labels=(images.labels + 1) % 3), ["0"], [0])
    assert (pair.first.outcome, pair.second.outcome) == (Outcome.VIOLATED, Outcome.VIOLATED)
    assert (pair.differs, pair.witness) == (False, None)


@pytest.mark.usefixtures("no_kernels")
def test_without_labels_both_sides_are_asked_about_the_first_sides_class() -> None:
    modules, images = (dense(), dense(changed=20)), inputs()
    position = other_classes(modules, images)[0]
    found, (pair,), _ = ask(modules, images, ["0"], [position])
    assert pair.label == found.first.classes[0] == pair.second.label != pair.second.prediction
    assert pair.differs


def test_an_unknown_is_no_difference() -> None:
    known = Verdict(Outcome.ROBUST, "", "", "", 0.0, "", 0, 0, None)
    unknown, violated = replace(known, outcome=Outcome.UNKNOWN), replace(known, outcome=Outcome.VIOLATED)
    cases = {
        (known, known): (False, False),
        (known, unknown): (False, True),
        (unknown, violated): (False, True),
        (violated, known): (True, False),
        (violated, violated): (False, False),
    }
    for (first, second), (differs, undecided) in cases.items():
        pair = VerdictPair(0, Fraction(1), 0, first, second, None)
        assert (pair.differs, pair.undecided) == (differs, undecided)


@pytest.mark.usefixtures("no_kernels")
def test_a_label_that_is_no_output_is_refused() -> None:
    images = inputs()
    with pytest.raises(UsageError, match="label 3"):
        ask((dense(), dense()), replace(images, labels=np.full(len(images.images), 3)), ["0"], [0])
