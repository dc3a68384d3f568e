"""The command `bvverify radius`."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bvverify.cli.options import (
    ClipOption,
    FactoryOption,
    ForbiddenOption,
    InputsOption,
    JsonOption,
    ModelArgument,
    RegionOption,
    SolverOption,
    StagesOption,
    TargetOption,
    TieOption,
    images_and_model,
    read_indices,
)
from bvverify.cli.output import out, progress_bar, write_json
from bvverify.cli.regions import PatchOption, free_elements
from bvverify.errors import UsageError
from bvverify.exit_codes import ExitCode, reported
from bvverify.queries import RegionKind, Robustness, TieRule, read_clip, read_radius, region_around

if TYPE_CHECKING:
    from bvverify.load import DeployedModel
    from bvverify.load.inputs import Images
    from bvverify.measure import LargestRadius
    from bvverify.queries import Region


def radius(
    model: ModelArgument,
    *,
    inputs: InputsOption,
    max_radius: Annotated[int, typer.Option(min=0, help="Largest radius to look at, a whole number of units.")],
    unit: Annotated[str, typer.Option(help="For floats: what a radius of 1 means, a number or a fraction.")] = "1/255",
    indices: Annotated[str, typer.Option(help="Which inputs, for example 0-9,12; all by default.")] = "",
    region: RegionOption = RegionKind.PIXELS,
    clip: ClipOption = "0,1",
    patch: PatchOption = None,
    forbidden: ForbiddenOption = None,
    target: TargetOption = "auto",
    tie: TieOption = TieRule.LOWEST_INDEX,
    solver: SolverOption = "bitwuzla",
    stages: StagesOption = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds per radius, a hard limit.")] = 60.0,
    memory: Annotated[float, typer.Option(min=0.25, help="GiB of memory for the solver.")] = 8.0,
    factory: FactoryOption = None,
    json_path: JsonOption = None,
    reproducers: Annotated[
        Path, typer.Option(help="Folder for a reproducer, should the kernel contradict us.")
    ] = Path(),
) -> None:
    """Find the largest radius at which each input keeps its label, by bisection.

    `robust up to` is proved; `violated from` has an input that was run on the target's real kernel; what lies between
    stayed unknown. Labels and --forbidden are as for `bvverify verify`.

    Exit codes: 0 all robust up to the largest radius, 1 some violated, 2 usage, 3 some unknown and none violated,
    4 internal error, 130 interrupted.
    """
    with reported():
        from bvverify.kernels.target import Target
        from bvverify.search import ALL_STAGES, read_stages
        from bvverify.verify import Verifier

        images, deployed = images_and_model(inputs, model, factory)
        chosen = read_indices(indices, images)
        regions = _growing(images, kind=region, unit=unit, clip=clip, patch=patch)
        rows: list[tuple[int, int, LargestRadius]] = []
        verifier = Verifier(
            deployed,
            target=Target.parse(target),
            solver=solver,
            seconds=timeout,
            stages=ALL_STAGES if stages is None else read_stages(stages),
            memory_bytes=int(memory * 2**30),
            reproducers=reproducers,
        )
        interrupted = False
        with verifier, progress_bar() as progress:
            task = progress.add_task("checking the inputs on the kernel", total=len(chosen))
            predictions = verifier.predictions(images.real[chosen]).tolist()
            classes = verifier.lowered.network.outputs
            try:
                for index, prediction in zip(chosen, predictions, strict=True):
                    label = prediction if images.labels is None else int(images.labels[index])
                    if label != forbidden:
                        progress.update(task, description=f"input {index}")
                        found = verifier.largest_radius(
                            regions(index),
                            Robustness(label, classes, tie, forbidden),
                            maximum=max_radius,
                            asked=lambda size, verdict: progress.update(
                                task, description=f"radius {size}: {verdict.outcome}"
                            ),
                        )
                        rows.append((index, label, found))
                    progress.advance(task)
            except KeyboardInterrupt:
                interrupted = True
        _show(rows, deployed, str(verifier.lowered.target), verifier.replay_refusal)
        if json_path is not None:
            settings = {
                "region": str(region),
                "unit": unit if region is RegionKind.FLOATS else "1",
                "max_radius": max_radius,
                "patch": patch,
                "forbidden": forbidden,
                "tie": str(tie),
                "solver": solver,
                "timeout": timeout,
                "interrupted": interrupted,
            }
            model_facts = {"name": deployed.name, "sha256": deployed.digest}
            facts = {"target": str(verifier.lowered.target), "runtime": verifier.lowered.target.runtime}
            results = [_as_json(*row) for row in rows]
            write_json(json_path, {"model": model_facts, **facts, **settings, "results": results})
        raise typer.Exit(_exit_code([found for *_, found in rows], interrupted))


def _growing(
    images: "Images", *, kind: RegionKind, unit: str, clip: str, patch: str | None
) -> "Callable[[int], Callable[[int], Region]]":
    """Return what gives, for an input, the region of each whole radius."""
    size = read_radius(unit, RegionKind.FLOATS) if kind is RegionKind.FLOATS else Fraction(1)
    if size == 0:
        raise UsageError(f"unit '{unit}': must be positive")
    ends = read_clip(clip)
    free = free_elements(images, patch)

    def around(index: int) -> "Callable[[int], Region]":
        return lambda radius: region_around(images.images[index], kind, radius * size, ends, free=free)

    return around


def _show(
    rows: "Sequence[tuple[int, int, LargestRadius]]", deployed: "DeployedModel", target: str, refusal: str | None
) -> None:
    from bvverify.report.measure_tables import radius_table

    out.print(radius_table(rows, title=f"{deployed.name} on {target}"))
    if refusal is not None:
        out.print(f"no replay on this machine: {refusal}", markup=False, soft_wrap=True)


def _as_json(index: int, label: int, found: "LargestRadius") -> dict[str, Any]:
    witness = found.witness.witness if found.witness else None
    return {
        "index": index,
        "label": label,
        "robust": found.robust,
        "violated": found.violated,
        "undecided": list(found.undecided),
        "asked": [{"radius": size, **verdict.as_json()} for size, verdict in found.verdicts.items()],
        "witness": None if witness is None else {"input": witness.real.tolist(), "outputs": witness.outputs.tolist()},
    }


def _exit_code(found: "Sequence[LargestRadius]", interrupted: bool) -> ExitCode:
    if interrupted:
        return ExitCode.INTERRUPTED
    if any(one.violated is not None for one in found):
        return ExitCode.SOME_VIOLATED
    return ExitCode.SOME_UNKNOWN if any(one.undecided for one in found) else ExitCode.ALL_ROBUST
