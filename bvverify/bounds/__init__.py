"""Linear bounds of StepNetworks, in exact integers."""

from bvverify.bounds.linear import FAMILY, TO_INPUTS, Depth, LinearBounds, Rows, Stop
from bvverify.bounds.lines import Slopes

__all__ = ["FAMILY", "TO_INPUTS", "Depth", "LinearBounds", "Rows", "Slopes", "Stop"]
