"""Exact verification of quantized neural networks: verdicts about the bytes that the deployed kernel computes.

    import bvverify as bv

    model = bv.load_model("model.pt")
    with bv.Verifier(model, target=bv.Target.detect()) as verifier:
        verdict = verifier.verify(bv.Query(bv.PixelBall(image, radius=2), bv.Robustness(label=7, classes=10)))

    summary = bv.run(bv.Plan.of(models="model.pt", inputs="x.npz", radius="1,2"), store="results.db")

Names are imported when they are first used, so that processes that need no torch start quickly.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bvverify.errors import BvverifyError as BvverifyError
    from bvverify.evidence import Verdict as Verdict
    from bvverify.evidence import Witness as Witness
    from bvverify.kernels.lower import LoweredModel as LoweredModel
    from bvverify.kernels.lower import lower as lower
    from bvverify.kernels.target import Target as Target
    from bvverify.load import DeployedModel as DeployedModel
    from bvverify.load import load_model as load_model
    from bvverify.load.inputs import Images as Images
    from bvverify.load.inputs import read_images as read_images
    from bvverify.measure import LargestRadius as LargestRadius
    from bvverify.measure import OutputRange as OutputRange
    from bvverify.measure import RegionRanges as RegionRanges
    from bvverify.network import NetworkBuilder as NetworkBuilder
    from bvverify.network import StepNetwork as StepNetwork
    from bvverify.network import Window as Window
    from bvverify.network import shift_rule as shift_rule
    from bvverify.queries import FloatBall as FloatBall
    from bvverify.queries import FloatBox as FloatBox
    from bvverify.queries import LevelBox as LevelBox
    from bvverify.queries import Patch as Patch
    from bvverify.queries import PixelBall as PixelBall
    from bvverify.queries import PixelBox as PixelBox
    from bvverify.queries import Query as Query
    from bvverify.queries import RegionKind as RegionKind
    from bvverify.queries import Robustness as Robustness
    from bvverify.queries import TieRule as TieRule
    from bvverify.queries import only_free as only_free
    from bvverify.runs.job import Limits as Limits
    from bvverify.runs.plan import Plan as Plan
    from bvverify.runs.run import RunSummary as RunSummary
    from bvverify.runs.run import run as run
    from bvverify.runs.store import Store as Store
    from bvverify.search import Decision as Decision
    from bvverify.search import Outcome as Outcome
    from bvverify.search import Stage as Stage
    from bvverify.verify import Verifier as Verifier
    from bvverify.verify import verify_network as verify_network
    from harness.conform.run import conform as conform

_HOMES = {
    "BvverifyError": "bvverify.errors",
    "Decision": "bvverify.search",
    "DeployedModel": "bvverify.load",
    "FloatBall": "bvverify.queries",
    "FloatBox": "bvverify.queries",
    "Images": "bvverify.load.inputs",
    "LargestRadius": "bvverify.measure",
    "LevelBox": "bvverify.queries",
    "Limits": "bvverify.runs.job",
    "LoweredModel": "bvverify.kernels.lower",
    "NetworkBuilder": "bvverify.network",
    "Outcome": "bvverify.search",
    "OutputRange": "bvverify.measure",
    "Patch": "bvverify.queries",
    "PixelBall": "bvverify.queries",
    "PixelBox": "bvverify.queries",
    "Plan": "bvverify.runs.plan",
    "Query": "bvverify.queries",
    "RegionKind": "bvverify.queries",
    "Robustness": "bvverify.queries",
    "RegionRanges": "bvverify.measure",
    "RunSummary": "bvverify.runs.run",
    "StepNetwork": "bvverify.network",
    "Stage": "bvverify.search",
    "Store": "bvverify.runs.store",
    "Target": "bvverify.kernels.target",
    "TieRule": "bvverify.queries",
    "Verdict": "bvverify.evidence",
    "Verifier": "bvverify.verify",
    "Window": "bvverify.network",
    "Witness": "bvverify.evidence",
    "conform": "harness.conform.run",
    "load_model": "bvverify.load",
    "lower": "bvverify.kernels.lower",
    "only_free": "bvverify.queries",
    "read_images": "bvverify.load.inputs",
    "run": "bvverify.runs.run",
    "shift_rule": "bvverify.network",
    "verify_network": "bvverify.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bvverify' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
