"""The command line: `bvverify verify`, `inspect`, `export`, `targets`."""

import dataclasses
import importlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bvverify.errors import InputError, UsageError
from bvverify.exit_codes import ExitCode, err, reported
from bvverify.queries import FloatBall, PixelBall, Query, Region, Robustness, TieRule

if TYPE_CHECKING:  # torch is imported only by commands that read a model
    from bvverify.evidence import Verdict
    from bvverify.load import DeployedModel
    from bvverify.load.inputs import Images

app = typer.Typer(
    name="bvverify",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Exact verdicts about quantized neural networks: about the bytes that PyTorch's CPU kernels compute.",
)
out = Console()


class RegionKind(StrEnum):
    """What may be perturbed."""

    PIXELS = "pixels"
    FLOATS = "floats"


ModelArgument = Annotated[
    Path,
    typer.Argument(
        help="TorchScript file of a quantized model. Reading it runs code it brings along: use only files you trust."
    ),
]
FactoryOption = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION", help="Read MODEL as a state_dict (data only) into the module this function returns."
    ),
]
InputsOption = Annotated[
    Path, typer.Option(help="npz file with `images` (uint8 pixels or float32, (n, ...)) and, optionally, `labels`.")
]
RegionOption = Annotated[
    RegionKind,
    typer.Option(
        help="pixels: every 8-bit image near the input, real value p/255. floats: every float32 input near it."
    ),
]
RadiusOption = Annotated[
    str,
    typer.Option(
        help="L-infinity radius, several with commas: pixel levels (2), or for floats a number or fraction (2/255)."
    ),
]
ClipOption = Annotated[str, typer.Option(help="For floats: lowest and highest allowed input, LOW,HIGH, or `none`.")]
TieOption = Annotated[TieRule, typer.Option(help="What equal largest outputs mean.")]
TargetOption = Annotated[
    str, typer.Option(help="engine/isa, an engine alone, or auto (what this machine runs); see `bvverify targets`.")
]
SolverOption = Annotated[str, typer.Option(help="bitwuzla, cvc5 or z3.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write the result to this file as well.")]


@app.command()
def verify(
    model: ModelArgument,
    *,
    inputs: InputsOption,
    indices: Annotated[str, typer.Option(help="Which inputs, for example 0-9,12; all by default.")] = "",
    radius: RadiusOption = "1",
    region: RegionOption = RegionKind.PIXELS,
    clip: ClipOption = "0,1",
    target: TargetOption = "auto",
    tie: TieOption = TieRule.LOWEST_INDEX,
    solver: SolverOption = "bitwuzla",
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds of solver time per query, a hard limit.")] = 60.0,
    memory: Annotated[float, typer.Option(min=0.25, help="GiB of memory for the solver.")] = 8.0,
    factory: FactoryOption = None,
    json_path: JsonOption = None,
    reproducers: Annotated[
        Path, typer.Option(help="Folder for a reproducer, should the kernel contradict us.")
    ] = Path(),
) -> None:
    """Decide robustness around inputs: is every input within the radius classified as its label?

    Labels are those of the inputs file; without any, the model's own predictions.

    Every `violated` comes with an input that was run on the target's real kernel, where this machine has it.

    Exit codes: 0 all robust, 1 some violated, 2 usage, 3 some unknown and none violated, 4 internal error.
    """
    with reported():
        from bvverify.kernels.target import Target
        from bvverify.verify import Verifier

        images, deployed = _images_and_model(inputs, model, factory)
        chosen = _indices(indices, images)
        radii = [(text.strip(), _radius(text, region)) for text in radius.split(",")]
        rows: list[tuple[int, str, Verdict]] = []
        verifier = Verifier(
            deployed,
            target=Target.parse(target),
            solver=solver,
            seconds=timeout,
            memory_bytes=int(memory * 2**30),
            reproducers=reproducers,
        )
        interrupted = False
        with verifier, _progress() as progress:
            task = progress.add_task("checking the inputs on the kernel", total=len(chosen) * len(radii))
            predictions = verifier.predictions(images.real[chosen])
            progress.update(task, description="verifying")
            classes = verifier.lowered.network.outputs
            try:
                for index, prediction in zip(chosen, predictions.tolist(), strict=True):
                    label = prediction if images.labels is None else int(images.labels[index])
                    for text, size in radii:
                        query = Query(_region(images, index, size, region, clip), Robustness(label, classes, tie))
                        rows.append((index, text, verifier.verify(query)))
                        progress.advance(task)
            except KeyboardInterrupt:
                interrupted = True
        _show_verdicts(rows, deployed, str(verifier.lowered.target), verifier.replay_refusal)
        if json_path is not None:
            settings = {
                "region": str(region),
                "tie": str(tie),
                "solver": solver,
                "timeout": timeout,
                "interrupted": interrupted,
            }
            _write_json(json_path, _verdicts_as_json(rows, deployed, verifier.lowered.target, settings))
        raise typer.Exit(_exit_code(rows, interrupted))


@app.command()
def inspect(
    model: ModelArgument,
    *,
    input_shape: Annotated[
        str | None, typer.Option(metavar="C,H,W", help="Shape of one input; not needed if the first layer is linear.")
    ] = None,
    factory: FactoryOption = None,
    json_path: JsonOption = None,
) -> None:
    """Show a model's layers, accumulators, pairs of products that can saturate, and the targets modelled for it."""
    with reported():
        from bvverify.kernels.inspection import inspect as gather
        from bvverify.load import load_model
        from bvverify.report.tables import layer_table, support_table

        shape = None if input_shape is None else _shape(input_shape)
        deployed = load_model(model, input_shape=shape, factory=_factory(factory))
        facts = gather(deployed.model, name=deployed.name, digest=deployed.digest)
        out.print(layer_table(facts))
        out.print(support_table(facts))
        if json_path is not None:
            _write_json(json_path, dataclasses.asdict(facts))


@app.command()
def export(
    model: ModelArgument,
    *,
    inputs: InputsOption,
    smtlib: Annotated[Path, typer.Option(help="SMT-LIB 2 file to write.")],
    index: Annotated[int, typer.Option(min=0, help="Which input.")] = 0,
    radius: RadiusOption = "1",
    region: RegionOption = RegionKind.PIXELS,
    clip: ClipOption = "0,1",
    target: TargetOption = "auto",
    tie: TieOption = TieRule.LOWEST_INDEX,
    factory: FactoryOption = None,
) -> None:
    """Write one question as an SMT-LIB 2 script: satisfiable exactly when some input of the region is misclassified.

    The script's status is `unsat` or `sat` where intervals or the input itself decide the question, else `unknown`.
    """
    with reported():
        from bvverify.encode import smtlib_lines
        from bvverify.kernels.lower import lower
        from bvverify.kernels.target import Target
        from bvverify.queries import predicted_class
        from bvverify.search import known_status

        images, deployed = _images_and_model(inputs, model, factory)
        (index,) = _indices(str(index), images)
        lowered = lower(deployed.model, Target.parse(target))
        ball = _region(images, index, _radius(radius, region), region, clip)
        own = lowered.quantizer.levels(ball.center())
        outputs = lowered.network.evaluate(own[None])
        label = int(predicted_class(outputs)[0]) if images.labels is None else int(images.labels[index])
        box, question = ball.levels(lowered.quantizer), Robustness(label, lowered.network.outputs, tie)
        comments = [
            f"target: {lowered.target}, {lowered.target.runtime}",
            f"model: {deployed.name}, sha256 {deployed.digest}",
            f"input {index} of {images.name}, label {label}, region {region}, radius {radius}, tie rule {tie}",
        ]
        status = known_status(lowered.network, box, question, own)
        lines = smtlib_lines(lowered.network, box, question, status=status, comments=comments)
        _write_lines(smtlib, lines)
        out.print(f"{smtlib}: {smtlib.stat().st_size:,} bytes, status {status}")


@app.command()
def targets(*, json_path: JsonOption = None) -> None:
    """List the targets that are modelled, and which of them this machine can run."""
    with reported():
        from bvverify.errors import TargetUnavailable
        from bvverify.kernels.target import TARGETS, Target
        from bvverify.report.tables import target_table

        try:
            detected = Target.detect()
        except TargetUnavailable:
            detected = None
        out.print(target_table(detected))
        if json_path is not None:
            rows = [
                {"target": str(t), "runtime": t.runtime, "unavailable": t.unavailable(), "default": t == detected}
                for t in TARGETS
            ]
            _write_json(json_path, {"targets": rows})


def main() -> None:
    """Run the command line; an unforeseen error ends with exit code 4."""
    # Else torch announces on stderr, for every model, the end of features that quantized models need.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        app()
    except Exception as error:
        if os.environ.get("BVVERIFY_TRACEBACK"):
            raise
        err.print(
            f"internal error: {type(error).__name__}: {error} (set BVVERIFY_TRACEBACK=1 for details)", markup=False
        )
        raise SystemExit(ExitCode.INTERNAL_ERROR) from error


def _images_and_model(inputs: Path, model: Path, factory: str | None) -> "tuple[Images, DeployedModel]":
    from bvverify.load import load_model_for
    from bvverify.load.inputs import read_images

    deployed, images = load_model_for(model, read_images(inputs), factory=_factory(factory))
    return images, deployed


def _factory(text: str | None) -> Callable[[], Any] | None:
    if text is None:
        return None
    module, _, name = text.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"factory '{text}': expected MODULE:FUNCTION that can be imported ({error})") from error
    if not callable(function):
        raise UsageError(f"factory '{text}': {name} is not a function")
    return function  # type: ignore[no-any-return]  # its result is checked when a state_dict is loaded into it


def _indices(text: str, images: "Images") -> list[int]:
    from bvverify.load.inputs import parse_indices

    return parse_indices(text, len(images.images)) if text else list(range(len(images.images)))


def _shape(text: str) -> tuple[int, ...]:
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"input shape '{text}': expected positive numbers with commas, such as 1,28,28")
    return tuple(int(part) for part in parts)


def _fraction(text: str, what: str) -> Fraction:
    try:
        return Fraction(text.strip())
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"{what} '{text.strip()}': expected a number or a fraction such as 2/255") from error


def _radius(text: str, region: RegionKind) -> Fraction:
    radius = _fraction(text, "radius")
    if radius < 0:
        raise UsageError(f"radius '{text.strip()}': must not be negative")
    if region is RegionKind.PIXELS and radius.denominator != 1:
        raise UsageError(
            f"radius '{text.strip()}': pixel regions take whole grey levels; use --region floats for other radii"
        )
    return radius


def _region(images: "Images", index: int, radius: Fraction, region: RegionKind, clip: str) -> Region:
    if region is RegionKind.FLOATS:
        return FloatBall(images.real[index], radius, _clip(clip))
    if images.images.dtype.name != "uint8":
        raise InputError(
            f"{images.name}: pixel regions need uint8 images, these are {images.images.dtype}; use --region floats"
        )
    return PixelBall(images.images[index], int(radius))


def _clip(text: str) -> tuple[Fraction, Fraction] | None:
    if text.strip().lower() == "none":
        return None
    low, comma, high = text.partition(",")
    if not comma:
        raise UsageError(f"clip '{text}': expected LOW,HIGH or none")
    ends = _fraction(low, "clip"), _fraction(high, "clip")
    if ends[0] > ends[1]:
        raise UsageError(f"clip '{text}': the lower end is above the upper end")
    return ends


def _progress() -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=err, transient=True)


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
        result: dict[str, Any] = {"index": index, "radius": _number(radius), **verdict.as_json()}
        if verdict.witness is not None:
            result["witness"] = {
                "input": verdict.witness.real.tolist(),
                "outputs": verdict.witness.outputs.tolist(),
            }
        results.append(result)
    model = {"name": deployed.name, "sha256": deployed.digest, "input_shape": list(deployed.model.input_shape)}
    return {"model": model, "target": str(target), "runtime": target.runtime, **settings, "results": results}


def _number(text: str) -> int | float | str:
    """Radii are written as numbers where JSON has them: 2, 0.5; a fraction stays as it was given."""
    radius = Fraction(text)
    if radius.denominator == 1:
        return int(radius)
    return float(text) if "/" not in text else text


def _write_json(path: Path, content: dict[str, Any]) -> None:
    _write_lines(path, [json.dumps(content, indent=2)])


def _write_lines(path: Path, lines: Sequence[str] | Iterator[str]) -> None:
    """Write a whole file or none of it."""
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from error


def _exit_code(rows: "Sequence[tuple[int, str, Verdict]]", interrupted: bool) -> ExitCode:
    outcomes = {str(verdict.outcome) for _, _, verdict in rows}
    if interrupted:
        return ExitCode.INTERRUPTED
    if "violated" in outcomes:
        return ExitCode.SOME_VIOLATED
    return ExitCode.SOME_UNKNOWN if "unknown" in outcomes else ExitCode.ALL_ROBUST


if __name__ == "__main__":
    main()
