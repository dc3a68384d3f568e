"""The command `bvverify verify`."""

from collections.abc import Sequence
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
    RadiusOption,
    RegionOption,
    SolverOption,
    StagesOption,
    TargetOption,
    TieOption,
    images_and_model,
    read_indices,
)
from bvverify.cli.output import out, progress_bar, write_json
from bvverify.cli.regions import DEFAULT_RADIUS, BoxOption, PatchOption, radius_number, regions_of
from bvverify.exit_codes import ExitCode, reported
from bvverify.queries import Query, RegionKind, Robustness, TieRule

if TYPE_CHECKING:
    from bvverify.evidence import Verdict
    from bvverify.load import DeployedModel


def verify(
    model: ModelArgument,
    *,
    inputs: InputsOption,
    indices: Annotated[str, typer.Option(help="Which inputs, for example 0-9,12; all by default.")] = "",
    radius: RadiusOption = DEFAULT_RADIUS,
    region: RegionOption = RegionKind.PIXELS,
    clip: ClipOption = "0,1",
    patch: PatchOption = None,
    box: BoxOption = None,
    forbidden: ForbiddenOption = None,
    target: TargetOption = "auto",
    tie: TieOption = TieRule.LOWEST_INDEX,
    solver: SolverOption = "bitwuzla",
    stages: StagesOption = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds per query, a hard limit.")] = 60.0,
    memory: Annotated[float, typer.Option(min=0.25, help="GiB of memory for the solver.")] = 8.0,
    factory: FactoryOption = None,
    json_path: JsonOption = None,
    reproducers: Annotated[
        Path, typer.Option(help="Folder for a reproducer, should the kernel contradict us.")
    ] = Path(),
) -> None:
    """Decide robustness around inputs: is every input within the radius classified as its label?

    Labels are those of the inputs file; without any, the model's own predictions.  With --forbidden: is no input
    classified as that class?  Inputs of that very label are left out.

    Every `violated` comes with an input that was run on the target's real kernel, where this machine has it.

    Exit codes: 0 all robust, 1 some violated, 2 usage, 3 some unknown and none violated, 4 internal error.
    """
    with reported():
        from bvverify.kernels.target import Target
        from bvverify.search import ALL_STAGES, read_stages
        from bvverify.verify import Verifier

        images, deployed = images_and_model(inputs, model, factory)
        chosen = read_indices(indices, images)
        regions = regions_of(images, kind=region, radius=radius, clip=clip, patch=patch, box=box)
        rows: list[tuple[int, str, Verdict]] = []
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
            predictions = verifier.predictions(images.real[chosen])
            progress.update(task, description="verifying")
            classes = verifier.lowered.network.outputs
            try:
                for index, prediction in zip(chosen, predictions.tolist(), strict=True):
                    label = prediction if images.labels is None else int(images.labels[index])
                    if label != forbidden:
                        question = Robustness(label, classes, tie, forbidden)
                        for text, around in regions(index):
                            rows.append((index, text, verifier.verify(Query(around, question))))
                    progress.advance(task)
            except KeyboardInterrupt:
                interrupted = True
        _show_verdicts(rows, deployed, str(verifier.lowered.target), verifier.replay_refusal)
        if json_path is not None:
            settings = {
                "region": str(region),
                "patch": patch,
                "box": None if box is None else str(box),
                "forbidden": forbidden,
                "tie": str(tie),
                "solver": solver,
                "timeout": timeout,
                "interrupted": interrupted,
            }
            write_json(json_path, _verdicts_as_json(rows, deployed, verifier.lowered.target, settings))
        raise typer.Exit(_exit_code(rows, interrupted))


def _show_verdicts(
    rows: "Sequence[tuple[int, str, Verdict]]", deployed: "DeployedModel", target: str, refusal: str | None
) -> None:
    from bvverify.report.tables import verdict_table
    from bvverify.verify import summary

    out.print(verdict_table(rows, title=f"{deployed.name} on {target}"))
    counts = summary([verdict for _, _, verdict in rows])
    out.print(", ".join(f"{count} {name}" for name, count in counts.items()))
    if refusal is not None:
        out.print(f"no replay on this machine: {refusal}", markup=False, soft_wrap=True)


def _verdicts_as_json(
    rows: "Sequence[tuple[int, str, Verdict]]", deployed: "DeployedModel", target: Any, settings: dict[str, Any]
) -> dict[str, Any]:
    results = []
    for index, radius, verdict in rows:
        result: dict[str, Any] = {"index": index, "radius": radius_number(radius), **verdict.as_json()}
        if verdict.witness is not None:
            result["witness"] = {
                "input": verdict.witness.real.tolist(),
                "outputs": verdict.witness.outputs.tolist(),
            }
        results.append(result)
    model = {"name": deployed.name, "sha256": deployed.digest, "input_shape": list(deployed.model.input_shape)}
    return {"model": model, "target": str(target), "runtime": target.runtime, **settings, "results": results}


def _exit_code(rows: "Sequence[tuple[int, str, Verdict]]", interrupted: bool) -> ExitCode:
    outcomes = {str(verdict.outcome) for _, _, verdict in rows}
    if interrupted:
        return ExitCode.INTERRUPTED
    if "violated" in outcomes:
        return ExitCode.SOME_VIOLATED
    return ExitCode.SOME_UNKNOWN if "unknown" in outcomes else ExitCode.ALL_ROBUST
