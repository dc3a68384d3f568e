"""Linear bounds of StepNetworks, in exact integers."""

from bvverify.bounds.linear import LinearBounds, Rows
from bvverify.bounds.lines import Slopes

__all__ = ["LinearBounds", "Rows", "Slopes"]
