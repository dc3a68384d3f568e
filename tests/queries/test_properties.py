import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bvverify.errors import UsageError
from bvverify.queries import Robustness, TieRule, predicted_class
from tests.networks import violates

few = arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.integers(-2, 2))
wide = arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.integers(-(2**60), 2**60))


def all_outputs(classes: int) -> np.ndarray:
    return np.array(list(itertools.product(range(3), repeat=classes)), dtype=np.int64)


@pytest.mark.parametrize("tie", TieRule)
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_violations_are_those_of_the_tie_rules_words(classes: int, tie: TieRule) -> None:
    outputs = all_outputs(classes)
    for label in range(classes):
        question = Robustness(label, classes, tie)
        assert question.violated_by(outputs).tolist() == [violates(question, row) for row in outputs.tolist()]


@given(few | wide, st.sampled_from(TieRule), st.data())
def test_violations_are_those_of_the_tie_rules_words_for_any_outputs(outputs, tie: TieRule, data) -> None:
    question = Robustness(data.draw(st.integers(0, outputs.shape[1] - 1)), outputs.shape[1], tie)
    violated = question.violated_by(outputs)
    assert violated.dtype == np.bool_
    assert violated.tolist() == [violates(question, row) for row in outputs.tolist()]


@given(few, st.sampled_from(TieRule), st.data())
def test_rivals_say_the_same(outputs, tie: TieRule, data) -> None:
    question = Robustness(data.draw(st.integers(0, outputs.shape[1] - 1)), outputs.shape[1], tie)
    assert [rival for rival, _ in question.rivals()] == [c for c in range(outputs.shape[1]) if c != question.label]
    for row in outputs.tolist():
        beaten = any(row[rival] - row[question.label] >= margin for rival, margin in question.rivals())
        assert beaten == violates(question, row)


@pytest.mark.parametrize("tie", TieRule)
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_a_forbidden_class_violates_by_the_tie_rules_words(classes: int, tie: TieRule) -> None:
    outputs = all_outputs(classes)
    for label, forbidden in itertools.permutations(range(classes), 2):
        question = Robustness(label, classes, tie, forbidden)
        violated = question.violated_by(outputs)
        assert violated.tolist() == [violates(question, row) for row in outputs.tolist()]
        ((rival, margin),) = question.rivals()
        assert rival == forbidden
        assert (outputs[violated, rival] - outputs[violated, label] >= margin).all()


@pytest.mark.parametrize("tie", TieRule)
def test_some_class_is_predicted_instead_of_the_label(tie: TieRule) -> None:
    outputs = all_outputs(4)
    untargeted = Robustness(1, 4, tie).violated_by(outputs)
    targeted = [Robustness(1, 4, tie, forbidden).violated_by(outputs) for forbidden in (0, 2, 3)]
    if tie is TieRule.NO_TIE_VIOLATES:  # two others may share the first place; none of them is strictly largest
        assert (untargeted >= np.any(targeted, axis=0)).all()
    else:
        assert (untargeted == np.any(targeted, axis=0)).all()


@pytest.mark.parametrize(("forbidden", "words"), [(-1, "forbidden class -1"), (3, "3 outputs"), (1, "label itself")])
def test_a_forbidden_class_that_makes_no_question_is_refused(forbidden: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Robustness(1, 3, forbidden=forbidden)


@given(few | wide)
def test_the_predicted_class_is_torchs(outputs) -> None:
    assert predicted_class(outputs).tolist() == torch.argmax(torch.from_numpy(outputs), dim=1).tolist()
    floats = torch.from_numpy(outputs).to(torch.float64)
    if (floats.long().numpy() == outputs).all():
        assert predicted_class(outputs).tolist() == floats.argmax(dim=1).tolist()


@given(few)
def test_the_predicted_class_is_the_one_that_the_lowest_index_rule_keeps(outputs) -> None:
    for row, predicted in zip(outputs, predicted_class(outputs).tolist(), strict=True):
        for label in range(len(row)):
            assert Robustness(label, len(row)).violated_by(row[None])[0] == (label != predicted)


def test_one_class_alone_is_never_violated() -> None:
    assert Robustness(0, 1).violated_by(np.array([[3], [4]])).tolist() == [False, False]


def test_no_outputs_violate_nothing() -> None:
    assert Robustness(0, 3).violated_by(np.empty((0, 3), dtype=np.int64)).shape == (0,)


def test_the_tie_rule_is_torchs_unless_another_is_named() -> None:
    assert Robustness(0, 2).tie is TieRule.LOWEST_INDEX


@pytest.mark.parametrize("label", [-1, 3, 10])
def test_a_label_that_is_no_class_is_refused(label: int) -> None:
    with pytest.raises(UsageError, match="label"):
        Robustness(label, 3)
