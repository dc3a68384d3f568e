"""The question whether a pipeline and thresholds differ, as SMT-LIB scripts: `unsat` is the proof that they do not.

There are two forms.  The direct question has one unknown, the accumulator, and the whole pipeline.

The staged questions suit pipelines with many roundings, as each more of them in one question multiplies the solver's
work.  The accumulators are cut into the intervals between thresholds.  The ends of each are sent through the pipeline
(by the solver, which computes the constants of a script); after each step, they bound an interval of float32.  One
question per step asks about any float32 of interval k before the step: can it be mapped out of interval k behind the
step?  It also asks whether the intervals behind the step are out of order or touch each other.  The last question
asks for a float32 of interval k whose byte is not the one claimed for k.  If the answer is always no, then every
accumulator stays in its interval, by induction over the steps, and gets the claimed byte.  No monotony is assumed;
a pipeline without it makes some question satisfiable.  As the unknown of a later question is any float32, it may also
be satisfiable where nothing differs; then the direct question decides.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bvverify.proofs.addition import LEFT, RIGHT, TOTAL, Aten, Program
from bvverify.proofs.floating_point import (
    BYTE,
    DOUBLE,
    LONG,
    SINGLE,
    WORD,
    Byte,
    Long,
    Single,
    byte,
    double,
    double_mul,
    long,
    long_add,
    long_from_byte,
    long_mul,
    mul,
    single,
    widened,
    word,
)
from bvverify.proofs.pipeline import Pipeline, constant, function

ACCUMULATOR, COMPUTED, CLAIMED = "accumulator", "computed", "claimed"
"""The unknowns of the direct question: an accumulator, its byte by the pipeline, and its byte by the thresholds."""
_WITNESS = (ACCUMULATOR, COMPUTED, CLAIMED)


@dataclass(frozen=True)
class Question:
    """An SMT-LIB script that should be unsatisfiable; `witness` says whether it has the three unknowns that make a
    counterexample, and `operands` whether the two bytes that the accumulator is made of are unknowns, too.
    """

    text: str
    witness: bool
    operands: bool = False

    @property
    def unknowns(self) -> tuple[str, ...]:
        """Names of the unknowns whose values make a counterexample."""
        return (*_WITNESS, *((LEFT, RIGHT) if self.operands else ())) if self.witness else ()


@dataclass(frozen=True)
class Staircase:
    """What is claimed of the accumulators in [lower, upper]: from `starts[k]` on, up to `starts[k + 1]`, the byte is
    `bytes[k]`.  `starts[0]` is `lower`; all ascend.
    """

    base: int
    """The least byte of the layer: 0, or -128 for qint8."""
    upper: int
    starts: tuple[int, ...]
    bytes: tuple[int, ...]

    @classmethod
    def of(cls, base: int, thresholds: Sequence[int], lower: int, upper: int) -> "Staircase":
        """Return base + #{t : t <= accumulator} on [lower, upper]; `thresholds` ascend."""
        assert lower <= upper
        assert all(a <= b for a, b in pairwise(thresholds))
        starts = [lower, *sorted({threshold for threshold in thresholds if lower < threshold <= upper})]
        return cls(base, upper, tuple(starts), tuple(base + bisect_right(thresholds, start) for start in starts))

    def byte(self, accumulator: int) -> int:
        """Return the byte that is claimed for an accumulator in the range."""
        return self.bytes[bisect_right(self.starts, accumulator) - 1]

    def value(self, bits: int) -> int:
        """Return the byte, `base` to `base` + 255, that 8 bits stand for."""
        return bits - 256 if bits >= self.base + 256 else bits

    @property
    def ends(self) -> tuple[int, ...]:
        """The last accumulator of each interval."""
        return (*(start - 1 for start in self.starts[1:]), self.upper)


@dataclass(frozen=True)
class Operand:
    """What a lowered addition makes of one of its bytes, which lies in [least, greatest]: `weight` times the byte, or
    times its entry in `table`, which begins with that of byte `first`.
    """

    least: int
    greatest: int
    weight: int
    table: tuple[int, ...] = ()
    first: int = 0

    def term(self, level: Byte) -> Long:
        """Return the product."""
        number = long_from_byte(level)
        if self.table:
            levels = range(self.least, self.greatest + 1)
            entries = [long(self.table[value - self.first]) for value in levels]
            number = Long(_search(entries, "bvuge", [byte(value) for value in levels], level))
        return long_mul(long(self.weight), number)

    def range(self, level: Byte) -> str:
        """Assert that the byte is one that occurs."""
        return f"(assert (and (bvule {byte(self.least)} {level}) (bvule {level} {byte(self.greatest)})))"


def addition_questions(
    aten: Aten, operands: tuple[Operand, Operand], exponent: int, staircase: Staircase
) -> tuple[Question, ...]:
    """Return questions that are faster than `operands_question`: if all are unsatisfiable, so is that one.

    The first two ask for a byte whose entry in the table, times 2**exponent, is not exactly the float32 number that
    the program makes of it.  As float32 addition rounds the exact sum, the float32 sum of two bytes is then the sum of
    their entries, rounded to float32, times 2**exponent, which is exact from exponent -149 on.  The third asks for any
    sum of the staircase from which the program gets another byte than claimed.
    """
    scripts = []
    for operand, level, side in zip(operands, (LEFT, RIGHT), ("left", "right"), strict=True):
        lines = [
            "(set-logic QF_BVFP)",
            *(f"(declare-const {name} {BYTE})" for name in (LEFT, RIGHT)),
            *aten.operands,
            operand.range(level),
            constant("entry", LONG, operand.term(level)),
            constant("exact", DOUBLE, double_mul(widened(Single(f"{side}_real")), double(2.0**-exponent))),
            "(assert (not (and (fp.eq exact ((_ to_fp 11 53) RNE entry)) (= entry ((_ fp.to_sbv 64) RNE exact)))))",
        ]
        scripts.append(_script(lines))
    total = mul(Single(f"((_ to_fp 8 24) RNE {ACCUMULATOR})"), single(2.0**exponent))
    lines = [
        "(set-logic QF_BVFP)",
        f"(declare-const {ACCUMULATOR} {LONG})",
        f"(assert (bvsle {long(staircase.starts[0])} {ACCUMULATOR}))",
        f"(assert (bvsle {ACCUMULATOR} {long(staircase.upper)}))",
        constant(TOTAL, SINGLE, total),
        *aten.finish,
        f"(assert (distinct byte {_claimed_sum(staircase)}))",
    ]
    return tuple(Question(script, witness=False) for script in (*scripts, _script(lines)))


def _claimed_sum(staircase: Staircase) -> str:
    starts = [long(start) for start in staircase.starts]
    return _search([byte(value) for value in staircase.bytes], "bvsge", starts, ACCUMULATOR)


def operands_question(
    program: Program, operands: tuple[Operand, Operand], offset: int, staircase: Staircase
) -> Question:
    """Return the question: do some two bytes get another byte from `program` than claimed?

    The claim is that of `staircase` for the sum of `operands` and `offset`.
    """
    left, right = operands
    total = long_add(long_add(left.term(LEFT), right.term(RIGHT)), long(offset))
    lines = [
        "(set-logic QF_BVFP)",
        *(f"(declare-const {name} {BYTE})" for name in (LEFT, RIGHT, COMPUTED, CLAIMED)),
        f"(declare-const {ACCUMULATOR} {LONG})",
        *program,
        left.range(LEFT),
        right.range(RIGHT),
        f"(assert (= {ACCUMULATOR} {total}))",
        f"(assert (= {COMPUTED} byte))",
        f"(assert (= {CLAIMED} {_claimed_sum(staircase)}))",
        f"(assert (distinct {COMPUTED} {CLAIMED}))",
    ]
    return Question(_script(lines), witness=True, operands=True)


def direct_question(pipeline: Pipeline, staircase: Staircase, *, monotone_only: bool = False) -> Question:
    """Return the question: does some accumulator of the staircase get another byte than claimed?

    With `monotone_only`, accumulators that the pipeline lets wrap around are left out.
    """
    claimed = _search([byte(value) for value in staircase.bytes], "bvsge", [word(start) for start in staircase.starts])
    lines = [
        *_head(pipeline),
        function("claimed_of", WORD, BYTE, claimed),
        *_unknowns(),
        f"(assert (bvsle {word(staircase.starts[0])} {ACCUMULATOR}))",
        f"(assert (bvsle {ACCUMULATOR} {word(staircase.upper)}))",
        *([*pipeline.monotone(), f"(assert (monotone {ACCUMULATOR}))"] if monotone_only else []),
        f"(assert (= {COMPUTED} (byte_of {ACCUMULATOR})))",
        f"(assert (= {CLAIMED} (claimed_of {ACCUMULATOR})))",
        f"(assert (distinct {COMPUTED} {CLAIMED}))",
    ]
    return Question(_script(lines), witness=True)


def ends_question(pipeline: Pipeline, staircase: Staircase) -> Question:
    """Return the direct question about the first and last accumulator of each interval alone.

    The solver only has to compute constants.  Where the pipeline is monotone, a wrong threshold shows here.
    """
    cases = [
        f"(and (= {ACCUMULATOR} {word(end)}) (= {COMPUTED} (byte_of {word(end)})) (= {CLAIMED} {byte(value)}))"
        for ends in (staircase.starts, staircase.ends)
        for end, value in zip(ends, staircase.bytes, strict=True)
    ]
    lines = [*_head(pipeline), *_unknowns(), f"(assert (or {' '.join(cases)}))"]
    return Question(_script([*lines, f"(assert (distinct {COMPUTED} {CLAIMED}))"]), witness=True)


def staged_questions(pipeline: Pipeline, staircase: Staircase) -> tuple[Question, ...]:
    """Return the staged questions: if all are unsatisfiable, every accumulator of the staircase gets the byte claimed.

    They are about all of the staircase's accumulators, also where `pipeline` is not monotone.
    """
    starts = [word(start) for start in staircase.starts]
    bounds = [f"(assert (bvsle {starts[0]} x))", f"(assert (bvsle x {word(staircase.upper)}))"]
    unknown = [f"(declare-const x {WORD})", *bounds, f"(define-fun next () {SINGLE} (step1 (convert x)))"]
    scripts = [
        _script([*_head(pipeline), *_ends(pipeline, staircase, 1), *unknown, _leaves(staircase, 1, "bvsge", starts)])
    ]
    for stage in range(1, len(pipeline.steps) + 1):
        lows, highs = _names("low", stage, staircase), _names("high", stage, staircase)
        last = stage == len(pipeline.steps)
        lines = [
            *_head(pipeline),
            *_ends(pipeline, staircase, stage if last else stage + 1),
            f"(declare-const bits {WORD})",
            f"(define-fun x () {SINGLE} ((_ to_fp 8 24) bits))",
            f"(assert (fp.leq {lows[0]} x))",
            f"(assert (fp.leq x {_search(highs, 'fp.geq', lows)}))",
        ]
        if last:
            claimed = _search([byte(value) for value in staircase.bytes], "fp.geq", lows)
            lines.append(f"(assert (distinct (finish x) {claimed}))")
        else:
            lines.append(f"(define-fun next () {SINGLE} (step{stage + 1} x))")
            lines.append(_leaves(staircase, stage + 1, "fp.geq", lows))
        scripts.append(_script(lines))
    return tuple(Question(script, witness=False) for script in scripts)


def _ends(pipeline: Pipeline, staircase: Staircase, last: int) -> list[str]:
    """Define `low1_k`, `high1_k` to those of stage `last`: what the steps make of the ends of interval k."""
    lines = []
    for side, ends in (("low", staircase.starts), ("high", staircase.ends)):
        for k, end in enumerate(ends):
            value = f"(convert {word(end)})"
            for stage in range(1, last + 1):
                lines.append(constant(f"{side}{stage}_{k}", SINGLE, f"(step{stage} {value})"))
                value = f"{side}{stage}_{k}"
    return lines


def _names(side: str, stage: int, staircase: Staircase) -> list[str]:
    return [f"{side}{stage}_{k}" for k in range(len(staircase.starts))]


def _leaves(staircase: Staircase, stage: int, reached: str, starts: Sequence[str]) -> str:
    """Assert that `next` leaves the interval that belongs to `x`, or that the intervals of `stage` are not in order."""
    lows, highs = _names("low", stage, staircase), _names("high", stage, staircase)
    order = [*(f"(fp.leq {low} {high})" for low, high in zip(lows, highs, strict=True))]
    order += [f"(fp.lt {high} {low})" for high, low in zip(highs, lows[1:], strict=False)]
    low, high = _search(lows, reached, starts), _search(highs, reached, starts)
    return f"(assert (not (and (fp.leq {low} next) (fp.leq next {high}) {' '.join(order)})))"


def _unknowns() -> list[str]:
    sorts = {ACCUMULATOR: WORD, COMPUTED: BYTE, CLAIMED: BYTE}
    return [f"(declare-const {name} {sort})" for name, sort in sorts.items()]


def _head(pipeline: Pipeline) -> list[str]:
    return ["(set-logic QF_BVFP)", *pipeline.definitions()]


def _script(lines: list[str]) -> str:
    return "\n".join([*lines, "(check-sat)", ""])


def _search(leaves: Sequence[str], reached: str, starts: Sequence[str], argument: str = "x") -> str:
    """Return the leaf of the last k whose start the argument has reached, or of 0: a binary search, as a term."""

    def between(first: int, last: int) -> str:
        if first == last:
            return leaves[first]
        middle = (first + last + 1) // 2
        return f"(ite ({reached} {argument} {starts[middle]}) {between(middle, last)} {between(first, middle - 1)})"

    return between(0, len(leaves) - 1)
