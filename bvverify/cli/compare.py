"""The command `bvverify compare`."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bvverify.cli.options import (
    ClipOption,
    FactoryOption,
    InputsOption,
    JsonOption,
    ModelArgument,
    RegionOption,
    SolverOption,
    StagesOption,
    TargetOption,
    TieOption,
    read_indices,
)
from bvverify.cli.output import out as console
from bvverify.cli.output import progress_bar, write_json, write_lines
from bvverify.errors import UsageError
from bvverify.exit_codes import ExitCode, reported
from bvverify.queries import RegionKind, TieRule, read_clip, read_radius

if TYPE_CHECKING:
    from bvverify.compare import Questions
    from bvverify.load.inputs import Images
    from bvverify.report.comparison_words import Compared
    from bvverify.verify import Verifier

_PAGE, _DATA = "index.html", "comparison.json"


def compare(
    model: ModelArgument,
    other: Annotated[
        Path | None, typer.Argument(help="Model to compare it with; the same model by default.", show_default=False)
    ] = None,
    *,
    inputs: InputsOption,
    indices: Annotated[str, typer.Option(help="Which inputs, for example 0-9,12; all by default.")] = "",
    target: TargetOption = "auto",
    other_target: Annotated[
        str | None, typer.Option(help="Target of the other side; that of --target by default.", show_default=False)
    ] = None,
    radius: Annotated[
        str | None, typer.Option(help="Compare verdicts too, within these radii; see `bvverify verify`.")
    ] = None,
    region: RegionOption = RegionKind.PIXELS,
    clip: ClipOption = "0,1",
    tie: TieOption = TieRule.LOWEST_INDEX,
    solver: SolverOption = "bitwuzla",
    stages: StagesOption = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds of solver time per query, a hard limit.")] = 60.0,
    memory: Annotated[float, typer.Option(min=0.25, help="GiB of memory for the solver.")] = 8.0,
    factory: FactoryOption = None,
    out: Annotated[
        Path | None, typer.Option(help=f"Folder for {_PAGE}, with pictures, and {_DATA}; made if there is none.")
    ] = None,
    json_path: JsonOption = None,
    reproducers: Annotated[
        Path, typer.Option(help="Folder for a reproducer, should the kernel contradict us.")
    ] = Path(),
) -> None:
    """Compare two models, or one model on two targets, over the same inputs: bytes, predictions, verdicts.

    Give OTHER, --other-target, or both. Where this machine can run a side's target, every byte of every layer is
    compared with the real kernel's first. Verdicts of both sides are about the same question: the label of the inputs
    file, or without labels the class that the first side predicts.

    Exit codes: 0 nothing differs, 1 something differs, 2 usage, 3 nothing differs as far as verdicts are known,
    4 internal error.
    """
    with reported():
        if other is None and other_target is None:
            raise UsageError("nothing to compare with: give a second model, or --other-target")
        from bvverify.compare import Questions
        from bvverify.kernels.target import Target
        from bvverify.load import load_model_for
        from bvverify.load.factory import read_factory
        from bvverify.load.inputs import read_images
        from bvverify.report.comparison import comparison_page
        from bvverify.report.comparison_exports import comparison_as_json
        from bvverify.search import ALL_STAGES, read_stages
        from bvverify.verify import Verifier

        ends = read_clip(clip)
        questions = None
        if radius is not None:
            radii = tuple(dict.fromkeys(read_radius(text, region) for text in radius.split(",")))
            questions = Questions(radii, region, ends, tie)
        targets = [Target.parse(text) for text in (target, target if other_target is None else other_target)]
        images = read_images(inputs)
        chosen = read_indices(indices, images)
        made = read_factory(factory)
        models = [load_model_for(path, images, factory=made)[0] for path in (model, *([other] if other else []))]
        _require_writable(out, json_path)
        verifiers = [
            Verifier(
                deployed,
                target=one,
                solver=solver,
                seconds=timeout,
                stages=ALL_STAGES if stages is None else read_stages(stages),
                memory_bytes=int(memory * 2**30),
                reproducers=reproducers,
            )
            for deployed, one in zip((models[0], models[-1]), targets, strict=True)
        ]
        settings = {"solver": solver, "limits per question": f"{timeout:g} s, {memory:g} GiB"}
        with verifiers[0] as first, verifiers[1] as second:
            compared = _compare(first, second, images, chosen, questions, settings)
        _show(compared)
        content = comparison_as_json(compared)
        if json_path is not None:
            write_json(json_path, content)
        if out is not None:
            page = list(comparison_page(compared, images))
            write_json(out / _DATA, content)
            write_lines(out / _PAGE, page)
            console.print(str(out / _PAGE), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(_exit_code(compared))


def _require_writable(folder: Path | None, file: Path | None) -> None:
    """Make the folder, and raise `UsageError` if results could not be written, before they are worked for."""
    parent = None if file is None else file.parent
    for path, made in ((folder, True), (parent, False)):
        if path is None:
            continue
        try:
            if made:
                path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path).close()
        except OSError as error:
            raise UsageError(f"{path}: cannot be written ({error.strerror})") from error
    if file is not None and file.is_dir():
        raise UsageError(f"{file}: cannot be written (it is a folder)")


def _compare(
    first: "Verifier",
    second: "Verifier",
    images: "Images",
    chosen: list[int],
    questions: "Questions | None",
    settings: dict[str, str],
) -> "Compared":
    from bvverify.compare import compare_subjects, compare_verdicts
    from bvverify.report.comparison_words import Compared

    count = 0 if questions is None else len(chosen) * len(questions.radii)
    with progress_bar() as progress:
        task = progress.add_task("comparing bytes", total=2 * len(chosen) + count)

        def advance(steps: int) -> None:
            progress.advance(task, steps)

        comparison = compare_subjects(first, second, images, positions=chosen, progress=advance)
        if questions is None:
            return Compared(comparison, None, {})
        progress.update(task, description="comparing verdicts")
        verdicts = compare_verdicts(first, second, images, comparison, questions, progress=advance)
    asked = {
        "region": f"{questions.region}, radii {', '.join(map(str, questions.radii))}",
        **({"clip": _clip_text(questions)} if questions.region is RegionKind.FLOATS else {}),
        "tie rule": str(questions.tie),
    }
    return Compared(comparison, verdicts, asked | settings)


def _clip_text(questions: "Questions") -> str:
    return "none" if questions.clip is None else f"{questions.clip[0]},{questions.clip[1]}"


def _show(compared: "Compared") -> None:
    from bvverify.report.comparison_tables import comparison_tables
    from bvverify.report.comparison_words import confirmation, headline, side_names

    comparison = compared.comparison
    for table in comparison_tables(compared):
        console.print(table)
    lines = [
        f"{name}: {confirmation(side)}"
        for name, side in zip(side_names(comparison), (comparison.first, comparison.second), strict=True)
    ]
    lines += [f"layer {layer.name} not compared; {layer.reason}" for layer in comparison.skipped]
    if comparison.incomparable:
        lines.append(comparison.incomparable)
    for line in (*lines, headline(compared)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _exit_code(compared: "Compared") -> ExitCode:
    if compared.differs:
        return ExitCode.SOME_VIOLATED
    return ExitCode.SOME_UNKNOWN if compared.undecided else ExitCode.ALL_ROBUST
