"""Questions: regions of real inputs, properties of the outputs, the tie rule."""

from bvverify.queries.boxes import FloatBox, PixelBox, only_free
from bvverify.queries.levels import LevelBox
from bvverify.queries.patch import Patch, read_patch
from bvverify.queries.properties import Overtaking, Robustness, TieRule, predicted_class
from bvverify.queries.query import Query
from bvverify.queries.reading import RegionKind, read_clip, read_radius, region_around, region_between
from bvverify.queries.regions import PIXEL_REALS, FloatBall, PixelBall, Quantization, Region

__all__ = [
    "PIXEL_REALS",
    "FloatBall",
    "FloatBox",
    "LevelBox",
    "Overtaking",
    "Patch",
    "PixelBall",
    "PixelBox",
    "Quantization",
    "Query",
    "Region",
    "RegionKind",
    "Robustness",
    "TieRule",
    "only_free",
    "predicted_class",
    "read_clip",
    "read_patch",
    "read_radius",
    "region_around",
    "region_between",
]
