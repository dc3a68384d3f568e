"""Measuring: the largest radius at which an input is robust, and the ranges of outputs over a region."""

from bvverify.measure.radius import LargestRadius, largest_radius
from bvverify.measure.ranges import OutputRange, RegionRanges, output_ranges

__all__ = ["LargestRadius", "OutputRange", "RegionRanges", "largest_radius", "output_ranges"]
