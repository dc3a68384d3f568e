"""Formulas for the tests: random ones over every operator, and a hard one."""

from hypothesis import strategies as st
from pysmt.fnode import FNode
from pysmt.shortcuts import (
    BV,
    BVSLE,
    BVSLT,
    BVUGT,
    BVULE,
    BVULT,
    FALSE,
    TRUE,
    And,
    Bool,
    BVAdd,
    BVAnd,
    BVAShr,
    BVComp,
    BVConcat,
    BVExtract,
    BVLShl,
    BVLShr,
    BVMul,
    BVNeg,
    BVNot,
    BVOr,
    BVRol,
    BVRor,
    BVSDiv,
    BVSExt,
    BVSRem,
    BVSub,
    BVUDiv,
    BVURem,
    BVXor,
    BVZExt,
    Equals,
    Iff,
    Implies,
    Ite,
    Not,
    Or,
    Symbol,
)
from pysmt.typing import BVType

WIDEST = 8

BINARY = (
    BVAnd,
    BVOr,
    BVXor,
    BVAdd,
    BVSub,
    BVMul,
    BVUDiv,
    BVURem,
    BVSDiv,
    BVSRem,
    BVLShl,
    BVLShr,
    BVAShr,
)
UNARY = (BVNot, BVNeg)
RELATIONS = (Equals, BVULT, BVULE, BVSLT, BVSLE)


def boolean(name: str) -> FNode:
    return Symbol(name)


def vector(name: str, width: int) -> FNode:
    return Symbol(name, BVType(width))


@st.composite
def terms(draw: st.DrawFn, width: int, depth: int = 3) -> FNode:
    """Draw a bit-vector term of the given width."""
    if depth == 0 or draw(st.integers(0, 5)) == 0:
        if draw(st.booleans()):
            return BV(draw(st.integers(0, 2**width - 1)), width)
        return vector(f"{draw(st.sampled_from('xyz'))}{width}", width)
    shape = draw(st.sampled_from(("unary", "binary", "ite", "rotate", "extend", "extract", "concat", "compare")))
    if shape == "unary":
        return draw(st.sampled_from(UNARY))(draw(terms(width, depth - 1)))
    if shape == "ite":
        return Ite(draw(formulas(depth - 1)), draw(terms(width, depth - 1)), draw(terms(width, depth - 1)))
    if shape == "rotate":
        return draw(st.sampled_from((BVRol, BVRor)))(draw(terms(width, depth - 1)), draw(st.integers(0, width - 1)))
    if shape == "extend" and width > 1:
        narrow = draw(st.integers(1, width - 1))
        return draw(st.sampled_from((BVZExt, BVSExt)))(draw(terms(narrow, depth - 1)), width - narrow)
    if shape == "extract":
        wide = draw(st.integers(width, WIDEST))
        start = draw(st.integers(0, wide - width))
        return BVExtract(draw(terms(wide, depth - 1)), start, start + width - 1)
    if shape == "concat" and width > 1:
        high = draw(st.integers(1, width - 1))
        return BVConcat(draw(terms(high, depth - 1)), draw(terms(width - high, depth - 1)))
    if shape == "compare" and width == 1:
        wide = draw(st.integers(1, WIDEST))
        return BVComp(draw(terms(wide, depth - 1)), draw(terms(wide, depth - 1)))
    return draw(st.sampled_from(BINARY))(draw(terms(width, depth - 1)), draw(terms(width, depth - 1)))


@st.composite
def formulas(draw: st.DrawFn, depth: int = 3) -> FNode:
    """Draw a Boolean formula."""
    if depth == 0:
        return draw(st.sampled_from((TRUE(), FALSE(), boolean("a"), boolean("b"))))
    shape = draw(st.sampled_from(("relation", "relation", "relation", "not", "and", "or", "implies", "iff", "ite")))
    if shape == "relation":
        width = draw(st.integers(1, WIDEST))
        return draw(st.sampled_from(RELATIONS))(draw(terms(width, depth - 1)), draw(terms(width, depth - 1)))
    if shape == "not":
        return Not(draw(formulas(depth - 1)))
    if shape in ("and", "or"):
        parts = [draw(formulas(depth - 1)) for _ in range(draw(st.integers(2, 3)))]
        return And(parts) if shape == "and" else Or(parts)
    if shape == "implies":
        return Implies(draw(formulas(depth - 1)), draw(formulas(depth - 1)))
    if shape == "iff":
        return Iff(draw(formulas(depth - 1)), draw(formulas(depth - 1)))
    return Ite(draw(formulas(depth - 1)), draw(formulas(depth - 1)), draw(formulas(depth - 1)))


def operator_samples() -> dict[str, FNode]:
    """Make one term per operator of QF_BV, over the symbols a, b (Boolean), u5, v5 (5 bits)."""
    a, b, x, y = boolean("a"), boolean("b"), vector("u5", 5), vector("v5", 5)
    samples = {operator.__name__: operator(x, y) for operator in (*BINARY, *RELATIONS)}
    samples |= {operator.__name__: operator(x) for operator in UNARY}
    samples |= {
        "BVComp": BVComp(x, y),
        "BVConcat": BVConcat(x, y),
        "BVExtract": BVExtract(x, 1, 3),
        "BVZExt": BVZExt(x, 3),
        "BVSExt": BVSExt(x, 3),
        "BVRol": BVRol(x, 2),
        "BVRor": BVRor(x, 2),
        "BV": BV(19, 5),
        "And": And(a, b),
        "Or": Or(a, b),
        "Not": Not(a),
        "Implies": Implies(a, b),
        "Iff": Iff(a, b),
        "Ite": Ite(a, x, y),
        "Bool": Bool(True),
    }
    return samples


def semiprime() -> FNode:
    """Make the factoring of an 80-bit product of two primes: out of reach in seconds."""
    width = 80
    p, q = vector("p", width), vector("q", width)
    product = BV(549755826239 * 550743468211, width)
    return And(BVUGT(p, BV(1, width)), BVULE(p, q), BVULT(q, BV(2**40, width)), Equals(BVMul(p, q), product))
