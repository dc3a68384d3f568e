"""Questions about a StepNetwork as formulas."""

from bvverify.encode.bitvector import Encoding, encode
from bvverify.encode.smtlib import smtlib_lines
from bvverify.encode.terms import PysmtTerms, SmtLibTerms, Terms

__all__ = ["Encoding", "PysmtTerms", "SmtLibTerms", "Terms", "encode", "smtlib_lines"]
