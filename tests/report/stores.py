"""Results files made by hand, through the store's own interface."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bvverify.evidence import Verdict, Witness
from bvverify.runs.job import Limits
from bvverify.runs.store import Item, Store, SubjectRow
from bvverify.search import Obstacle, Outcome

IMAGES = Path(__file__).parents[2] / "benchmarks" / "eqv" / "images.npz"
SETTINGS = '{"bvverify": "0.1.0", "solver": "bitwuzla 0.9.0"}'


def subject(model: str, target: str, **changes: Any) -> SubjectRow:
    row = SubjectRow(f"{model} {target}", model, "ab" * 32, target, "torch 2.13.0", "network", None)
    return replace(row, **changes)


def item(row: SubjectRow, position: int, radius: str, image: npt.NDArray[Any], **changes: Any) -> Item:
    values: dict[str, Any] = {
        "source": "images.npz",
        "position": position,
        "region": "pixels" if image.dtype == np.uint8 else "floats",
        "radius": radius,
        "clip": "" if image.dtype == np.uint8 else "0,1",
        "tie": "lowest-index",
        "label": 3,
        "prediction": 3,
        "image": image,
        "input_digest": f"input {image.shape} {position}",
    }
    values |= changes
    return Item(query=f"{row.digest} {position} {radius} {values['tie']}", **values)


def robust(**changes: Any) -> Verdict:
    return Verdict(**({**_COMMON, "outcome": Outcome.ROBUST} | changes))


def unknown(*, gap: int | None = 4, **changes: Any) -> Verdict:
    values = {"stage": "bitvector", "reason": "time: 60 s", "obstacle": Obstacle.TIME, "seconds": 60.0}
    return Verdict(**({**_COMMON, "outcome": Outcome.UNKNOWN, "gap": gap, **values} | changes))


def violated(real: npt.NDArray[np.float32], *, witness_class: int = 5, **changes: Any) -> Verdict:
    outputs = np.zeros(10, dtype=np.int64)
    outputs[witness_class] = 90
    witness = Witness(real, np.zeros(1, dtype=np.int64), outputs, True, "replayed")
    values = {"stage": "bitvector", "solver": "bitwuzla 0.9.0", "witness": witness}
    return Verdict(**({**_COMMON, "outcome": Outcome.VIOLATED, **values} | changes))


def misclassified(real: npt.NDArray[np.float32], **changes: Any) -> Verdict:
    return violated(real, **({"stage": "misclassified", "solver": "", "prediction": 5, "seconds": 0.0} | changes))


_COMMON: dict[str, Any] = {
    "target": "",
    "stage": "intervals",
    "solver": "",
    "seconds": 0.02,
    "reason": "",
    "label": 3,
    "prediction": 3,
    "witness": None,
}


def reals(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.asarray(pixels, dtype=np.float32) / np.float32(255)


def fill(path: Path, row: SubjectRow, asked: Sequence[tuple[Item, Verdict | None]]) -> Path:
    """Add queries about one subject, and their verdicts, to the results file."""
    with Store(path) as store:
        store.add_items(store.add_subject(row), [one for one, _ in asked])
        for one, verdict in asked:
            if verdict is not None:
                store.add(one.query, SETTINGS, verdict, Limits())
    return path


@dataclass(frozen=True)
class Made:
    """What `realistic` put into a file."""

    path: Path
    robust: int
    violated: int
    unknown: int
    unasked: int


def realistic(
    path: Path,
    *,
    models: Sequence[str] = ("FC1-100.pt", "FC2-256.pt", "CNN1.pt"),
    targets: Sequence[str] = ("fbgemm/avx2", "qnnpack/sse2"),
    radii: Sequence[int] = (1, 2, 4, 8),
    inputs: int = 20,
    seed: int = 0,
) -> Made:
    """Make a file of plausible verdicts about handwritten digits: the larger the radius, the fewer are robust."""
    rng = np.random.default_rng(seed)
    with np.load(IMAGES) as file:
        images, labels = file["images"][:inputs], file["labels"][:inputs].tolist()
    counts = {"robust": 0, "violated": 0, "unknown": 0, "unasked": 0}
    for number, model in enumerate(models):
        digest = f"{number:02x}" * 32
        for target in targets:
            refusal = "this CPU lacks avx512_vnni" if target.endswith("vnni") else None
            row = subject(model, target, model_sha256=digest, replay_refusal=refusal)
            asked: list[tuple[Item, Verdict | None]] = []
            for radius in radii:
                for position, (image, label) in enumerate(zip(images, labels, strict=True)):
                    verdict, prediction = _plausible(rng, image, label, radius, number, wrong=position == 8)
                    asked.append((item(row, position, str(radius), image, label=label, prediction=prediction), verdict))
                    counts["unasked" if verdict is None else str(verdict.outcome)] += 1
            fill(path, row, asked)
    return Made(path, **counts)


def _plausible(
    rng: np.random.Generator, image: npt.NDArray[np.uint8], label: int, radius: int, number: int, *, wrong: bool
) -> tuple[Verdict | None, int]:
    other = int((label + rng.integers(1, 10)) % 10)
    if wrong and number != 1:
        return misclassified(reals(image), witness_class=other, prediction=other), other
    chance = rng.random() + 0.08 * radius
    if chance < 0.75:
        return robust(seconds=float(rng.lognormal(-4 + number, 1))), label
    if chance < 1:
        solver = "bitwuzla 0.9.0"
        return robust(stage="bitvector", solver=solver, seconds=float(rng.lognormal(1 + number / 2, 1.2))), label
    if chance < 1.25:
        step = rng.integers(-radius, radius + 1, image.shape) * (rng.random(image.shape) < 0.6)
        near = np.clip(image.astype(np.int64) + step, 0, 255)
        replay = "replayed" if rng.random() < 0.8 else "this CPU lacks avx512_vnni"
        witness = violated(reals(near), witness_class=other).witness
        assert witness is not None
        witness = replace(witness, replay=replay, replayed=replay == "replayed")
        return violated(reals(near), witness=witness, seconds=float(rng.lognormal(1 + number, 1))), label
    if chance < 1.5 or number == 0:
        obstacle = (Obstacle.TIME, Obstacle.MEMORY)[int(rng.random() < 0.2)]
        reason = {Obstacle.TIME: "time: 60 s", Obstacle.MEMORY: "memory: 8 GiB"}[obstacle]
        gap = None if rng.random() < 0.1 else int(rng.geometric(0.12))
        closest = None if gap is None else float(rng.random() * 3)
        return unknown(gap=gap, closest=closest, reason=reason, obstacle=obstacle, seconds=60.0), label
    return None, label
