"""Questions: regions of real inputs, properties of the outputs, the tie rule."""

from bvverify.queries.levels import LevelBox
from bvverify.queries.properties import Overtaking, Robustness, TieRule, predicted_class
from bvverify.queries.query import Query
from bvverify.queries.reading import RegionKind, read_clip, read_radius, region_around
from bvverify.queries.regions import PIXEL_REALS, FloatBall, PixelBall, Quantization, Region

__all__ = [
    "PIXEL_REALS",
    "FloatBall",
    "LevelBox",
    "Overtaking",
    "PixelBall",
    "Quantization",
    "Query",
    "Region",
    "RegionKind",
    "Robustness",
    "TieRule",
    "predicted_class",
    "read_clip",
    "read_radius",
    "region_around",
]
