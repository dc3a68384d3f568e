"""Do two networks give the same outputs on a region?  Asked of the bit-vector encoding and a solver.

Both networks are encoded over the same free input words, so the very formulas that verdicts rest on are compared.  A
region whose formula admits no input would make everything equal: `differing_input` of networks that do differ must
find an input, and whoever trusts an answer "same" asks that too.
"""

from collections.abc import Sequence

import numpy as np

from bvverify.encode import encode
from bvverify.encode.bitvector import Word
from bvverify.encode.terms import SmtLibTerms
from bvverify.errors import InternalError
from bvverify.network import IntArray, StepNetwork
from bvverify.queries import LevelBox, Robustness
from bvverify.solvers import Status, check_smtlib

SOLVER = "bitwuzla"
_FREE = 12
"""How many elements of an input are free words where its encoding is asked for one output."""


def differing_input(left: StepNetwork, right: StepNetwork, box: LevelBox) -> IntArray | None:
    """Return an input of `box`, int64 of the networks' input shape, on which their outputs differ, or None.

    Raises `InternalError` if evaluation of the networks contradicts the solver's input.
    """
    question = _Question(box)
    witness = question.solve(question.unequal(question.outputs(left), question.outputs(right)))
    if witness is None:
        return None
    if not box.contains(witness) or (left.evaluate(witness[None]) == right.evaluate(witness[None])).all():
        raise InternalError("the encodings of two networks differ at an input where the networks agree")
    return witness


def encoding_fault(network: StepNetwork, point: IntArray, expected: IntArray) -> str | None:
    """Return why the encoding does not have exactly the outputs `expected` at `point`, or None if it has.

    The encoded region holds `point` and, in some elements, everything else of the domain. `point` int64 of the input
    shape, `expected` int64 [outputs].
    """
    question = _Question(region(network, point, free=_FREE, reach=None))
    outputs = question.outputs(network)
    here = question.equations(point)
    if question.solve(*here) is None:
        return "the formula does not admit the input"
    wrong = question.unequal(outputs, [Word[str](value, value, None) for value in expected.tolist()])
    return None if question.solve(*here, wrong) is None else "the formula admits other outputs for the input"


def region(network: StepNetwork, point: IntArray, *, free: int, reach: int | None) -> LevelBox:
    """Return a part of the network's domain that holds `point` (int64, input shape): at most `free` elements, spread
    evenly, may differ from it, by at most `reach` if given.
    """
    flat, least, most = (ends.reshape(-1) for ends in (point, network.lower, network.upper))
    lower, upper = flat.copy(), flat.copy()
    moved = np.unique(np.linspace(0, flat.size - 1, free).astype(np.int64))
    lower[moved] = least[moved] if reach is None else np.maximum(flat[moved] - reach, least[moved])
    upper[moved] = most[moved] if reach is None else np.minimum(flat[moved] + reach, most[moved])
    return LevelBox.of(lower.reshape(point.shape), upper.reshape(point.shape))


class _SharedTerms(SmtLibTerms):
    """Terms of several networks over the same input words, which are declared once."""

    def __init__(self) -> None:
        super().__init__()
        self._declared: set[str] = set()

    def symbol(self, name: str, width: int) -> str:
        if name in self._declared:
            return name
        self._declared.add(name)
        return super().symbol(name, width)


class _Question:
    """A script over the inputs of one region."""

    def __init__(self, box: LevelBox) -> None:
        self._box = box
        self._terms = _SharedTerms()
        self._inputs: dict[str, tuple[int, int]] = {}
        self._domain: list[str] = []

    def outputs(self, network: StepNetwork) -> list[Word[str]]:
        """Return the outputs of a network as functions of the region's input words."""
        encoding = encode(network, self._box, Robustness(0, network.outputs), self._terms)
        self._inputs, self._domain = encoding.inputs, encoding.domain
        return encoding.outputs

    def equations(self, point: IntArray) -> list[str]:
        """Return the conditions under which the input is `point`."""
        levels = point.reshape(-1)
        return [
            self._terms.equal(name, self._terms.constant(int(levels[element]) - base, self._width(element, base)))
            for name, (element, base) in self._inputs.items()
        ]

    def unequal(self, left: Sequence[Word[str]], right: Sequence[Word[str]]) -> str:
        """Return the truth of: some output differs."""
        return self._terms.any_of([self._differ(one, other) for one, other in zip(left, right, strict=True)])

    def solve(self, *conditions: str) -> IntArray | None:
        """Return an input of the region for which all conditions hold, or None if there is none."""
        asserted = [f"(assert {condition})" for condition in (*self._domain, *conditions)]
        text = "\n".join(["(set-logic QF_BV)", *self._terms.lines, *asserted, "(check-sat)"])
        answer = check_smtlib(text, solver=SOLVER, values=list(self._inputs))
        if answer.status is Status.UNKNOWN:
            raise InternalError(f"{SOLVER} gives no answer: {answer.reason}")
        if answer.model is None:
            return None
        levels = self._box.lower.reshape(-1).copy()
        for name, (element, base) in self._inputs.items():
            levels[element] = base + answer.model[name]
        return levels.reshape(self._box.lower.shape)

    def _width(self, element: int, base: int) -> int:
        return int(self._box.upper.flat[element] - base).bit_length()

    def _differ(self, left: Word[str], right: Word[str]) -> str:
        if left.upper < right.lower or right.upper < left.lower:
            return "true"
        base = min(left.lower, right.lower)
        width = (max(left.upper, right.upper) - base).bit_length()
        if not width:
            return "false"
        one, other = (self._counted(word, base, width) for word in (left, right))
        return self._terms.negate(self._terms.equal(one, other))

    def _counted(self, word: Word[str], base: int, width: int) -> str:
        """Return the word counted from `base`, `width` bits wide."""
        shift = self._terms.constant(word.lower - base, width)
        if word.term is None:
            return shift
        wide = word.term if word.width == width else self._terms.extend(word.term, width - word.width)
        return self._terms.add(wide, shift)
