"""Real images on which FBGEMM computes other bytes without VNNI than with it: both predicted, and replayed where
this machine can.
"""

from pathlib import Path

import numpy as np

import bvverify as bv
from bvverify.evidence import Replayer
from bvverify.model import Linear

MODEL = Path(__file__).parents[1] / "benchmarks" / "eqv" / "models" / "FC2-100.pt"


def test_saturating_and_exact_accumulators_differ_and_are_both_predicted(tmp_path: Path) -> None:
    model = bv.load_model(MODEL)
    layer = next(layer for layer in model.model.layers if isinstance(layer, Linear))
    generator = np.random.default_rng(0)
    neurons = generator.random((2000, 100)) < generator.random((2000, 1))
    images = (neurons @ layer.weight.centered > 0).astype(np.float32)
    programs = [bv.lower(model.model, bv.Target.parse(f"fbgemm/{isa}")) for isa in ("avx512_vnni", "avx2")]
    outputs = [program.network.evaluate(program.quantizer.levels(images)) for program in programs]
    different = (outputs[0] != outputs[1]).any(axis=1)
    assert 0 < different.sum() < len(images) / 2
    for program in programs:
        with Replayer(model, program, reproducers=tmp_path) as replayer:
            assert replayer.refusal == program.target.unavailable()
            if replayer.refusal is None:
                replayer.confirm(images[different])
