"""A pipeline from one int32 accumulator to a byte, as functions of the SMT-LIB theories."""

from collections.abc import Sequence
from dataclasses import dataclass

from bvverify.proofs.floating_point import (
    BOOL,
    BYTE,
    SINGLE,
    TRUE,
    WORD,
    Byte,
    Single,
    Truth,
    Word,
    at_least,
    at_most,
    low_byte,
    rounded,
    single,
    word,
    word_add,
)

X_WORD, X_SINGLE = Word("x"), Single("x")
"""The argument of a pipeline's function, where that is an int32 or a float32."""
TO_BYTE = at_most(at_least(X_WORD, word(0)), word(255))
"""Saturate to a byte of 0 to 255 (packuswb)."""
LARGEST_CONVERTIBLE = single(2147483520.0)
"""The float32 below 2^31, to which ATen's vectors limit values before a conversion."""


@dataclass(frozen=True)
class Pipeline:
    """What an engine computes for one channel: an accumulator becomes a float32, takes some steps as a float32, is
    rounded to an int32, and takes some more steps as that; its last 8 bits are the byte.

    Every field but `constants` holds terms over `x`, the argument, and over the constants.
    """

    constants: tuple[str, ...]
    """Definitions of the numbers that do not depend on the accumulator, in order."""
    convert: Single
    steps: tuple[Single, ...]
    words: tuple[Word, ...] = ()
    monotone_accumulator: Truth = TRUE
    """Holds for accumulators `x` that do not wrap around before the conversion."""
    monotone_result: Truth = TRUE
    """Holds for the last float32 `x`, where rounding it does not wrap around."""

    def definitions(self) -> list[str]:
        """Return the commands that define the functions `convert`, `step1` to `stepN` and `finish`, and `byte_of`, the
        whole pipeline.
        """
        lines = [*self.constants, function("convert", WORD, SINGLE, self.convert)]
        lines += [function(f"step{number}", SINGLE, SINGLE, step) for number, step in enumerate(self.steps, 1)]
        words, byte = byte_by(self.words, rounded(X_SINGLE))
        lines += [*words, function("finish", SINGLE, BYTE, byte)]
        lines.append(function("byte_of", WORD, BYTE, f"(finish {self._result()})"))
        return lines

    def monotone(self) -> list[str]:
        """Return the commands that define `monotone`, which says whether an accumulator is one that thresholds can
        describe.
        """
        return [
            function("in_range", SINGLE, BOOL, self.monotone_result),
            function("monotone", WORD, BOOL, f"(and {self.monotone_accumulator} (in_range {self._result()}))"),
        ]

    def _result(self) -> str:
        return _chain("step", len(self.steps), "(convert x)")


def _chain(name: str, count: int, argument: str) -> str:
    for number in range(1, count + 1):
        argument = f"({name}{number} {argument})"
    return argument


def constant(name: str, sort: str, term: str) -> str:
    """Define a number."""
    return f"(define-fun {name} () {sort} {term})"


def function(name: str, argument: str, result: str, term: str) -> str:
    """Define a function of `x`."""
    return f"(define-fun {name} ((x {argument})) {result} {term})"


def byte_by(words: Sequence[Word], start: Word) -> tuple[list[str], Byte]:
    """Return the commands that define `words` as functions `word1` to `wordN`, and the last 8 bits of what they make of
    `start`.
    """
    lines = [function(f"word{number}", WORD, WORD, step) for number, step in enumerate(words, 1)]
    return lines, low_byte(Word(_chain("word", len(words), start)))


def clamp(zero_point: int, *, relu: bool = False) -> tuple[Word, ...]:
    """Return the steps of ATen's kernels behind the rounding: add the zero point, clamp to a byte.  A fused ReLU on
    bytes is a maximum with the zero point.
    """
    steps = (word_add(X_WORD, word(zero_point)), TO_BYTE)
    return (*steps, at_least(X_WORD, word(zero_point))) if relu else steps


def saturation(zero_point: int, *, relu: bool) -> tuple[Word, ...]:
    """Return the steps behind FBGEMM's and QNNPACK's rounding: saturate to 16 bits (packssdw), add the zero point
    with 16-bit saturation (paddsw), saturate to a byte (packuswb); a fused ReLU is a maximum with the zero point.
    """
    to_int16 = at_most(at_least(X_WORD, word(-(2**15))), word(2**15 - 1))
    steps = (to_int16, word_add(X_WORD, word(zero_point)), to_int16, TO_BYTE)
    return (*steps, at_least(X_WORD, word(zero_point))) if relu else steps
