"""Deciding questions: stages from cheap to thorough."""

from bvverify.search.bitvector import BitvectorSolver
from bvverify.search.decision import Decision, Obstacle, Outcome, Stage
from bvverify.search.intervals import interval_gap, proved_by_intervals
from bvverify.search.pipeline import ALL_STAGES, decide, known_status, read_stages

__all__ = [
    "ALL_STAGES",
    "BitvectorSolver",
    "Decision",
    "Obstacle",
    "Outcome",
    "Stage",
    "decide",
    "interval_gap",
    "known_status",
    "proved_by_intervals",
    "read_stages",
]
