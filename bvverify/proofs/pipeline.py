"""A pipeline from one int32 accumulator to a byte, as functions of the SMT-LIB theories."""

from dataclasses import dataclass

from bvverify.proofs.floating_point import (
    BOOL,
    BYTE,
    SINGLE,
    TRUE,
    WORD,
    Single,
    Truth,
    Word,
    at_least,
    at_most,
    low_byte,
    rounded,
    word,
    word_add,
)

X_WORD, X_SINGLE = Word("x"), Single("x")
"""The argument of a pipeline's function, where that is an int32 or a float32."""


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
        lines += [function(f"word{number}", WORD, WORD, step) for number, step in enumerate(self.words, 1)]
        byte = low_byte(Word(_chain("word", len(self.words), rounded(X_SINGLE))))
        lines.append(function("finish", SINGLE, BYTE, byte))
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


def saturation(zero_point: int, *, relu: bool) -> tuple[Word, ...]:
    """Return the steps behind FBGEMM's and QNNPACK's rounding: saturate to 16 bits (packssdw), add the zero point
    with 16-bit saturation (paddsw), saturate to a byte (packuswb); a fused ReLU is a maximum with the zero point.
    """
    to_int16 = at_most(at_least(X_WORD, word(-(2**15))), word(2**15 - 1))
    to_byte = at_most(at_least(X_WORD, word(0)), word(255))
    steps = (to_int16, word_add(X_WORD, word(zero_point)), to_int16, to_byte)
    return (*steps, at_least(X_WORD, word(zero_point))) if relu else steps
