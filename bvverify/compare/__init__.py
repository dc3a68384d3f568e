"""Two subjects, each a model on a target, over the same inputs: which bytes, predictions and verdicts differ."""

from bvverify.compare.comparison import Comparison, Side
from bvverify.compare.layers import LayerComparison, SkippedLayer
from bvverify.compare.subjects import Progress, compare_subjects
from bvverify.compare.verdicts import Questions, SharedWitness, VerdictPair, compare_verdicts

__all__ = [
    "Comparison",
    "LayerComparison",
    "Progress",
    "Questions",
    "SharedWitness",
    "Side",
    "SkippedLayer",
    "VerdictPair",
    "compare_subjects",
    "compare_verdicts",
]
