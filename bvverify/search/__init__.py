"""Deciding questions: stages from cheap to thorough."""

from bvverify.search.bitvector import BitvectorSolver
from bvverify.search.decision import Decision, Obstacle, Outcome
from bvverify.search.intervals import interval_gap, proved_by_intervals
from bvverify.search.pipeline import decide, known_status

__all__ = [
    "BitvectorSolver",
    "Decision",
    "Obstacle",
    "Outcome",
    "decide",
    "interval_gap",
    "known_status",
    "proved_by_intervals",
]
