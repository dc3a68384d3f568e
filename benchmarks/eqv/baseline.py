"""EQV's pipeline, rebuilt on our networks: `python -m benchmarks.eqv.baseline --help`.

Linear bounds in one pass with adaptive lines, then a projected gradient attack of 7 steps with straight-through
rounding, then integer programs in floats with the ranges that the bounds left: the components and the order of EQV
(Huang et al., AAAI 2024), with HiGHS on one thread in the place of Gurobi.  Its two simpler variants, programs with and
without bounds, can be asked for too.  One JSON line per query; lines that are already in the file are not computed
again.
"""

# ruff: noqa: E402  # the number of threads must be set before numpy is imported

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import typer

from bvverify.bounds import LinearBounds, Rows, Slopes
from bvverify.bounds.idle import without_idle_clamps
from bvverify.child import Child, ChildDied, ChildTimeout
from bvverify.evidence import Subject
from bvverify.evidence.subject import Posed
from bvverify.kernels.target import Target
from bvverify.load import load_model
from bvverify.load.inputs import Images, read_images
from bvverify.network import IntArray, StepNetwork
from bvverify.queries import PixelBall, Query, Robustness
from bvverify.search.attack import AttackBudget, attack
from bvverify.search.ilp import OpenWay, ProgramQuestion, ways_left_open
from bvverify.search.intervals import open_ways
from bvverify.search.linear import Bounded
from bvverify.search.solver_process import Solved
from bvverify.solvers import Status

HERE = Path(__file__).parent
NETWORKS = "FC1-100,FC2-100,FC2-256,FC2-512,FC3-100,CNN1,CNN2"
PGD = AttackBudget(starts=1, sign_steps=7, smooth_steps=0, integer_steps=0)


class Variant(StrEnum):
    """Which of EQV's components take part."""

    ILP = "ilp"
    """Integer programs alone, with the ranges that bytes have."""
    BOUNDED = "ilp+bounds"
    EQV = "eqv"
    """Bounds, attack, programs."""


def main(
    *,
    out: Annotated[Path, typer.Option(help="File of JSON lines; what it holds already is not computed again.")],
    networks: Annotated[str, typer.Option(help="Names, with commas.")] = NETWORKS,
    radii: Annotated[str, typer.Option(help="Radii in pixel levels, with commas.")] = "3,6,9,12",
    first: Annotated[int, typer.Option(min=0, max=99, help="First image.")] = 0,
    step: Annotated[int, typer.Option(min=1, help="Every so many images.")] = 1,
    seconds: Annotated[float, typer.Option(help="Time limit of one query.")] = 300.0,
    variant: Annotated[Variant, typer.Option(help="Components that take part.")] = Variant.EQV,
    target: Annotated[
        str, typer.Option(help="Whose bytes are asked about; the engine alone: on this machine.")
    ] = "fbgemm",
) -> None:
    """Run the queries that are not in the file yet."""
    warnings.filterwarnings("ignore", module=r"torch\.")
    known = {_key(json.loads(line)) for line in out.read_text().splitlines()} if out.exists() else set()
    levels, images = [int(radius) for radius in radii.split(",")], range(first, 100, step)
    with out.open("a") as lines, Child("benchmarks.eqv.highs_worker") as highs:
        for name in networks.split(","):
            for line in queries(name, Target.parse(target), levels, images, known, highs, seconds, variant):
                lines.write(json.dumps(line) + "\n")
                lines.flush()


def queries(
    name: str,
    target: Target,
    radii: list[int],
    images: range,
    known: set[tuple[object, ...]],
    highs: Child,
    seconds: float,
    variant: Variant,
) -> Iterator[dict[str, object]]:
    """Yield a line for each query about one network that is not known."""
    data = read_images(HERE / "images.npz")
    shape = (1, 28, 28) if name.startswith("CNN") else (784,)
    with Subject(load_model(HERE / "models" / f"{name}.pt", input_shape=shape), target=target) as subject:
        shaped = data.shaped(subject.lowered.network.input_shape)
        for radius in radii:
            for number in images:
                line: dict[str, object] = {
                    "network": name,
                    "target": str(target),
                    "image": number,
                    "radius": radius,
                    "limit": seconds,
                    "variant": variant,
                }
                if _key(line) in known:
                    continue
                posed = subject.pose(_query(shaped, number, radius))
                started = time.perf_counter()
                outcome, stage = answer(subject.lowered.network, posed, highs, seconds, variant)
                taken = round(time.perf_counter() - started, 3)
                yield {**line, "outcome": outcome, "stage": stage, "seconds": taken}


def answer(network: StepNetwork, posed: Posed, highs: Child, seconds: float, variant: Variant) -> tuple[str, str]:
    """Return what EQV's pipeline says, and the stage that said it."""
    deadline = time.monotonic() + seconds
    box, question = posed.box, posed.query.property
    if posed.decision is not None:
        return "misclassified", "input"
    # Pairs of 16 bits, which EQV does not know, are summed at once where they cannot saturate.
    network = without_idle_clamps(network, network.interval(box.lower, box.upper))
    if variant is Variant.ILP:
        values = [(box.lower, box.upper), *((value.lower, value.upper) for value in network.values[1:])]
        ways = [OpenWay(way, values) for way in question.ways()]
    elif not (ways := ways_left_open(_one_pass(network, posed))):
        return "robust", "bounds"
    if variant is Variant.EQV and attack(network, box, question, budget=PGD, deadline=deadline).witness is not None:
        return "violated", "attack"
    request = ProgramQuestion(network, box, ways)
    try:
        solved: Solved = highs.request(request, seconds=max(0.0, deadline - time.monotonic()))
    except ChildTimeout:
        return "unknown: time", "highs"
    except ChildDied as death:
        return f"unknown: {death}", "highs"
    match solved.status:
        case Status.UNSAT:
            return "robust according to floats", "highs"
        case Status.SAT if _violates(network, posed, solved.witness):
            return "violated", "highs"
        case Status.SAT:
            return "unknown: the solution in floats violates nothing", "highs"
        case Status.UNKNOWN:
            return f"unknown: {solved.reason}", "highs"


def _one_pass(network: StepNetwork, posed: Posed) -> Bounded:
    """Return what bounds say that go back to the input once, with adaptive lines (DeepPoly)."""
    box = posed.box
    bounds = LinearBounds(network, box.lower, box.upper, slopes=Slopes.ADAPTIVE)

    def greatest(value: int, row: IntArray, constant: int) -> int | None:
        most = bounds.greatest(Rows(value, row[None], (constant,)))
        return None if most is None else most[0]

    return Bounded(bounds.values, open_ways(network, bounds.values, posed.query.property, greatest))


def _violates(network: StepNetwork, posed: Posed, witness: IntArray | None) -> bool:
    if witness is None or not posed.box.contains(witness):
        return False
    return bool(posed.query.property.violated_by(network.evaluate(witness[None]))[0])


def _query(images: Images, number: int, radius: int) -> Query:
    assert images.labels is not None
    return Query(PixelBall(images.images[number], radius), Robustness(int(images.labels[number]), 10))


def _key(line: dict[str, object]) -> tuple[object, ...]:
    return tuple(line[name] for name in ("network", "target", "image", "radius", "limit", "variant"))


if __name__ == "__main__":
    typer.run(main)
