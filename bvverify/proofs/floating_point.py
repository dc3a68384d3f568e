"""Terms of the SMT-LIB theories of floating-point numbers and bit-vectors, as text.

Each function is one machine operation or instruction, written as the theory has it; nothing is computed here.  All
rounding is to nearest even.
"""

import struct
from typing import NewType

Single = NewType("Single", str)
"""A term for a float32."""
Double = NewType("Double", str)
"""A term for a float64."""
Word = NewType("Word", str)
"""A term for a signed 32-bit integer, in two's complement."""
Byte = NewType("Byte", str)
"""A term for 8 bits."""
Long = NewType("Long", str)
"""A term for a signed 64-bit integer, in two's complement."""
Truth = NewType("Truth", str)
"""A term for a Boolean."""

SINGLE, DOUBLE, WORD, BYTE, BOOL = "Float32", "Float64", "(_ BitVec 32)", "(_ BitVec 8)", "Bool"
LONG = "(_ BitVec 64)"
"""The sorts of these terms."""
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
TRUE = Truth("true")


def single(value: float) -> Single:
    """Write a float32 by its bits; `value` must be one exactly."""
    packed = struct.pack(">f", value)
    assert struct.unpack(">f", packed)[0] == value
    return Single(f"((_ to_fp 8 24) #x{packed.hex()})")


def double(value: float) -> Double:
    """Write a float64 by its bits."""
    return Double(f"((_ to_fp 11 53) #x{struct.pack('>d', value).hex()})")


def word(value: int) -> Word:
    """Write an int32."""
    assert INT32_MIN <= value <= INT32_MAX
    return Word(f"#x{value % 2**32:08x}")


def byte(value: int) -> Byte:
    """Write a byte, 0 to 255, or -128 to 127 in two's complement."""
    assert -128 <= value <= 255
    return Byte(f"#x{value % 256:02x}")


def long(value: int) -> Long:
    """Write an int64."""
    assert -(2**63) <= value < 2**63
    return Long(f"#x{value % 2**64:016x}")


def from_byte(value: Byte) -> Word:
    """Convert a byte of 0 to 255 to int32 (pmovzxbd)."""
    return Word(f"((_ zero_extend 24) {value})")


def long_from_byte(value: Byte) -> Long:
    """Convert a byte of 0 to 255 to int64 (pmovzxbq)."""
    return Long(f"((_ zero_extend 56) {value})")


def narrowed(value: Double) -> Single:
    """Round float64 to float32 (cvtsd2ss)."""
    return Single(f"((_ to_fp 8 24) RNE {value})")


def widened(value: Single) -> Double:
    """Convert float32 to float64, exactly (cvtss2sd)."""
    return Double(f"((_ to_fp 11 53) RNE {value})")


def from_word(value: Word) -> Single:
    """Convert int32 to float32 (cvtdq2ps)."""
    return Single(f"((_ to_fp 8 24) RNE {value})")


def mul(a: Single, b: Single) -> Single:
    """Multiply (mulps)."""
    return Single(f"(fp.mul RNE {a} {b})")


def add(a: Single, b: Single) -> Single:
    """Add (addps)."""
    return Single(f"(fp.add RNE {a} {b})")


def div(a: Single, b: Single) -> Single:
    """Divide (divps)."""
    return Single(f"(fp.div RNE {a} {b})")


def fma(a: Single, b: Single, c: Single) -> Single:
    """Return a * b + c with one rounding (vfmadd)."""
    return Single(f"(fp.fma RNE {a} {b} {c})")


def double_mul(a: Double, b: Double) -> Double:
    """Multiply (mulsd)."""
    return Double(f"(fp.mul RNE {a} {b})")


def double_div(a: Double, b: Double) -> Double:
    """Divide (divsd)."""
    return Double(f"(fp.div RNE {a} {b})")


def larger(a: Single, b: Single) -> Single:
    """Return the larger of two float32 (maxps: the second where they are equal or one is NaN)."""
    return Single(f"(ite (fp.gt {a} {b}) {a} {b})")


def smaller(a: Single, b: Single) -> Single:
    """Return the smaller of two float32 (minps: the second where they are equal or one is NaN)."""
    return Single(f"(ite (fp.lt {a} {b}) {a} {b})")


def inside_int32(value: Single) -> Truth:
    """Say that a float32 rounds to an int32: -2^31 <= value < 2^31, as no float32 lies in the last half below 2^31."""
    return Truth(f"(and (fp.leq {single(-(2.0**31))} {value}) (fp.lt {value} {single(2.0**31)}))")


def rounded(value: Single) -> Word:
    """Round to int32; what does not fit, NaN included, becomes INT32_MIN (cvtps2dq)."""
    return Word(f"(ite {inside_int32(value)} ((_ fp.to_sbv 32) RNE {value}) {word(INT32_MIN)})")


def word_add(a: Word, b: Word) -> Word:
    """Add modulo 2^32 (paddd)."""
    return Word(f"(bvadd {a} {b})")


def word_mul(a: Word, b: Word) -> Word:
    """Multiply modulo 2^32 (pmulld)."""
    return Word(f"(bvmul {a} {b})")


def long_add(a: Long, b: Long) -> Long:
    """Add modulo 2^64 (paddq)."""
    return Long(f"(bvadd {a} {b})")


def long_mul(a: Long, b: Long) -> Long:
    """Multiply modulo 2^64 (pmullq)."""
    return Long(f"(bvmul {a} {b})")


def sum_fits(a: Word, b: Word) -> Truth:
    """Say that the sum of two int32 is an int32."""
    wide = f"(bvadd ((_ sign_extend 1) {a}) ((_ sign_extend 1) {b}))"
    return Truth(f"(= {wide} ((_ sign_extend 1) {word_add(a, b)}))")


def at_least(value: Word, bound: Word) -> Word:
    """Return the larger of two int32 (pmaxsd)."""
    return Word(f"(ite (bvslt {value} {bound}) {bound} {value})")


def at_most(value: Word, bound: Word) -> Word:
    """Return the smaller of two int32 (pminsd)."""
    return Word(f"(ite (bvsgt {value} {bound}) {bound} {value})")


def low_byte(value: Word) -> Byte:
    """Return the last 8 bits."""
    return Byte(f"((_ extract 7 0) {value})")
