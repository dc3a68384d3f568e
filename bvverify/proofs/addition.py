"""Additions of two bytes in the theories: ATen's kernel through float32, in either lane, and QNNPACK's fixed point.

Source: ATen `native/quantized/cpu/kernels/QuantizedOpKernels.cpp` (qadd), `cpu/vec/vec*/vec*_qint.h`,
`native/quantized/AffineQuantizerBase.cpp`; QNNPACK `operator-run.c` and `q8vadd/sse2.c`, `requantization.h`.

A program is a list of definitions, in order, over the two unknown bytes `left` and `right`; the last is `byte`.
"""

from dataclasses import dataclass

from bvverify.kernels.conversion import Lane
from bvverify.model import Add, QuantParams
from bvverify.proofs.floating_point import (
    BYTE,
    SINGLE,
    WORD,
    Byte,
    Single,
    Word,
    add,
    div,
    double,
    fma,
    from_byte,
    from_word,
    larger,
    mul,
    narrowed,
    rounded,
    single,
    smaller,
    word,
    word_add,
    word_mul,
)
from bvverify.proofs.pipeline import LARGEST_CONVERTIBLE, TO_BYTE, byte_by, clamp, constant, saturation

LEFT, RIGHT = Byte("left"), Byte("right")
"""The unknown bytes."""
TOTAL = Single("total")
Program = tuple[str, ...]


@dataclass(frozen=True)
class Aten:
    """The program of one lane of ATen's kernel, in two parts, between which the two numbers are added."""

    operands: Program
    """Defines `left_real` and `right_real`."""
    finish: Program
    """Goes on from `total`."""

    @property
    def program(self) -> Program:
        """All of it."""
        return (*self.operands, constant(TOTAL, SINGLE, add(Single("left_real"), Single("right_real"))), *self.finish)


def aten(layer: Add, left: QuantParams, right: QuantParams, lane: Lane) -> Aten:
    """Return what `lane` of ATen's kernel computes: dequantize both, add, quantize."""
    inverse = div(single(1.0), narrowed(double(layer.output.scale)))
    operands = (*_dequantized("left", LEFT, left, lane), *_dequantized("right", RIGHT, right, lane))
    lines = [
        constant("real", SINGLE, larger(TOTAL, single(0.0)) if layer.relu else TOTAL),
        constant("inverse", SINGLE, inverse),
        constant("scaled", SINGLE, mul(Single("real"), Single("inverse"))),
    ]
    scaled, zero_point = Single("scaled"), layer.output.zero_point
    if lane is Lane.VECTOR:
        words, byte = byte_by(clamp(zero_point), rounded(smaller(scaled, LARGEST_CONVERTIBLE)))
    else:
        words, byte = byte_by((TO_BYTE,), rounded(add(scaled, from_word(word(zero_point)))))
    return Aten(operands, (*lines, *words, constant("byte", BYTE, byte)))


def qnnpack(layer: Add, left: QuantParams, right: QuantParams) -> Program:
    """Return QNNPACK's program: bytes times integers, an arithmetic shift with rounding, saturation.

    The shift is found in the bits of the greater ratio of scales, to whose exponent it is then added.
    """
    output = narrowed(double(layer.output.scale))
    lines = [
        constant("left_ratio", SINGLE, div(narrowed(double(left.scale)), output)),
        constant("right_ratio", SINGLE, div(narrowed(double(right.scale)), output)),
        *(
            line
            for side in ("left", "right")
            for line in (
                f"(declare-const {side}_bits {WORD})",
                f"(assert (= ((_ to_fp 8 24) {side}_bits) {side}_ratio))",
            )
        ),
        # Bits of positive numbers are in the order of the numbers.
        constant("most_bits", WORD, "(ite (bvult left_bits right_bits) right_bits left_bits)"),
        constant("shift", WORD, f"(bvsub {word(127 + 21)} (bvlshr most_bits {word(23)}))"),
        *(
            constant(
                f"{side}_factor",
                WORD,
                rounded(Single(f"((_ to_fp 8 24) (bvadd {side}_bits (bvshl shift {word(23)})))")),
            )
            for side in ("left", "right")
        ),
        constant("left_zero", WORD, word_mul(Word("left_factor"), word(left.zero_point))),
        constant("right_zero", WORD, word_mul(Word("right_factor"), word(right.zero_point))),
        constant("offset", WORD, f"(bvneg {word_add(Word('left_zero'), Word('right_zero'))})"),
        constant("left_part", WORD, word_mul(from_byte(LEFT), Word("left_factor"))),
        constant("right_part", WORD, word_mul(from_byte(RIGHT), Word("right_factor"))),
        constant("total", WORD, word_add(word_add(Word("offset"), Word("left_part")), Word("right_part"))),
        constant("mask", WORD, f"(bvsub (bvshl {word(1)} shift) {word(1)})"),
        constant("negative", WORD, f"(ite (bvslt total {word(0)}) {word(1)} {word(0)})"),
        constant("remainder", WORD, "(bvsub (bvand total mask) negative)"),
        constant("up", WORD, f"(ite (bvsgt remainder (bvlshr mask {word(1)})) {word(1)} {word(0)})"),
        constant("shifted", WORD, "(bvadd (bvashr total shift) up)"),
    ]
    words, byte = byte_by(saturation(layer.output.zero_point, relu=layer.relu), Word("shifted"))
    return (*lines, *words, constant("byte", BYTE, byte))


def _dequantized(side: str, level: Byte, params: QuantParams, lane: Lane) -> list[str]:
    scale, offset = Single(f"{side}_scale"), Single(f"{side}_offset")
    lines = [constant(scale, SINGLE, narrowed(double(params.scale)))]
    if lane is Lane.VECTOR:
        lines.append(constant(offset, SINGLE, mul(scale, single(-params.zero_point))))
        real = fma(scale, from_word(from_byte(level)), offset)
    else:
        real = mul(scale, from_word(word_add(from_byte(level), word(-params.zero_point))))
    return [*lines, constant(f"{side}_real", SINGLE, real)]
