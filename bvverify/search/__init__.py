"""Deciding questions: stages from cheap to thorough."""

from bvverify.search.bitvector import BitvectorSolver
from bvverify.search.decision import Decision, Outcome
from bvverify.search.intervals import proved_by_intervals
from bvverify.search.pipeline import decide, known_status

__all__ = ["BitvectorSolver", "Decision", "Outcome", "decide", "known_status", "proved_by_intervals"]
