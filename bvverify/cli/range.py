"""The command `bvverify range`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bvverify.cli.options import (
    ClipOption,
    FactoryOption,
    InputsOption,
    JsonOption,
    ModelArgument,
    RadiusOption,
    RegionOption,
    SolverOption,
    StagesOption,
    TargetOption,
    images_and_model,
    read_indices,
)
from bvverify.cli.output import out, progress_bar, write_json
from bvverify.cli.regions import DEFAULT_RADIUS, BoxOption, PatchOption, radius_number, regions_of
from bvverify.errors import UsageError
from bvverify.exit_codes import ExitCode, reported
from bvverify.queries import RegionKind

if TYPE_CHECKING:
    from bvverify.measure import RegionRanges


def output_range(
    model: ModelArgument,
    *,
    inputs: InputsOption,
    indices: Annotated[str, typer.Option(help="Which inputs, for example 0-9,12; all by default.")] = "",
    outputs: Annotated[str, typer.Option(help="Which outputs, for example 0-3,7; all by default.")] = "",
    radius: RadiusOption = DEFAULT_RADIUS,
    region: RegionOption = RegionKind.PIXELS,
    clip: ClipOption = "0,1",
    patch: PatchOption = None,
    box: BoxOption = None,
    target: TargetOption = "auto",
    solver: SolverOption = "bitwuzla",
    stages: StagesOption = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds per output.")] = 60.0,
    memory: Annotated[float, typer.Option(min=0.25, help="GiB of memory for the solver.")] = 8.0,
    factory: FactoryOption = None,
    json_path: JsonOption = None,
    reproducers: Annotated[
        Path, typer.Option(help="Folder for a reproducer, should the kernel contradict us.")
    ] = Path(),
) -> None:
    """Bound each output over a region: the integers that the model's last layer gives.

    `proved`: no input of the region leaves this range. `attained`: inputs that reach these values were run on the
    target's real kernel. Where both agree, the end is exact.

    Exit codes: 0 all ends exact, 2 usage, 3 some end is not exact, 4 internal error, 130 interrupted.
    """
    with reported():
        from bvverify.kernels.target import Target
        from bvverify.report.measure_tables import range_table
        from bvverify.search import ALL_STAGES, read_stages
        from bvverify.verify import Verifier

        images, deployed = images_and_model(inputs, model, factory)
        chosen = read_indices(indices, images)
        regions = regions_of(images, kind=region, radius=radius, clip=clip, patch=patch, box=box)
        rows: list[tuple[int, str, RegionRanges]] = []
        verifier = Verifier(
            deployed,
            target=Target.parse(target),
            solver=solver,
            seconds=timeout,
            stages=ALL_STAGES if stages is None else read_stages(stages),
            memory_bytes=int(memory * 2**30),
            reproducers=reproducers,
        )
        wanted = _read_outputs(outputs, verifier.lowered.network.outputs)
        with verifier, progress_bar() as progress:
            for index in progress.track(chosen, description="bounding the outputs"):
                rows += [
                    (index, text, verifier.output_ranges(around, outputs=wanted)) for text, around in regions(index)
                ]
        out.print(range_table(rows, title=f"{deployed.name} on {verifier.lowered.target}"))
        if json_path is not None:
            model_facts = {"name": deployed.name, "sha256": deployed.digest}
            facts = {"target": str(verifier.lowered.target), "runtime": verifier.lowered.target.runtime}
            settings = {
                "region": str(region),
                "patch": patch,
                "box": None if box is None else str(box),
                "solver": solver,
                "timeout": timeout,
            }
            results = [one for row in rows for one in _as_json(*row)]
            write_json(json_path, {"model": model_facts, **facts, **settings, "results": results})
        exact = all(all(one.exact) for *_, found in rows for one in found.ranges)
        raise typer.Exit(ExitCode.ALL_ROBUST if exact else ExitCode.SOME_UNKNOWN)


def _read_outputs(text: str, count: int) -> Sequence[int]:
    from bvverify.load.inputs import parse_indices

    try:
        return parse_indices(text, count) if text else range(count)
    except UsageError as error:
        raise UsageError(
            f"outputs '{text}': expected numbers and ranges such as 0-3,7, below {count}, which the model has"
        ) from error


def _as_json(index: int, radius: str, found: "RegionRanges") -> list[dict[str, Any]]:
    return [
        {
            "index": index,
            "radius": radius_number(radius),
            "output": one.output,
            "proved": list(one.proved),
            "attained": list(one.attained),
            "exact": list(one.exact),
            "solver": one.solver,
            "replay": found.replay,
            "inputs": inputs.tolist(),
        }
        for one, inputs in zip(found.ranges, found.inputs, strict=True)
    ]
