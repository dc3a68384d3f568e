"""The command `bvverify conform`: certify that the bytes predicted for a model are those of this machine's kernels."""

from pathlib import Path
from typing import Annotated

import typer

from bvverify.cli.options import FactoryOption, InputShapeOption, JsonOption, ModelArgument
from bvverify.cli.output import out as console
from bvverify.cli.output import write_json, write_lines
from bvverify.exit_codes import ExitCode, reported
from bvverify.load.factory import read_factory


def conform(
    model: ModelArgument,
    *,
    out: Annotated[Path, typer.Option(help="Folder for certificate.json and index.html.")],
    target: Annotated[
        str, typer.Option(help="engine/isa, an engine alone, auto, several with commas, or all that can run here.")
    ] = "auto",
    expect: Annotated[
        Path | None, typer.Option(help="Predict the bytes from this file, of the same architecture, instead of MODEL.")
    ] = None,
    inputs: Annotated[Path | None, typer.Option(help="npz file with real inputs `images`.")] = None,
    input_shape: InputShapeOption = None,
    factory: FactoryOption = None,
    samples: Annotated[int, typer.Option(min=0, help="Random and extreme inputs for the whole model.")] = 1000,
    rounds: Annotated[int, typer.Option(min=1, help="How often thresholds that are not met yet are tried.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    json_path: JsonOption = None,
) -> None:
    """Certify MODEL on this machine: compare every layer's bytes with the real kernels.

    The deployed script runs as a whole on random, extreme and real inputs. Every layer then runs alone, on inputs
    constructed so that its accumulators meet both sides of every threshold.

    Exit codes: 0 all bytes as predicted, 1 some differ, 2 usage.
    """
    with reported():
        from harness.conform.certificate import Settings, certificate
        from harness.conform.files import check_writable
        from harness.conform.page import index_page, verdict_line
        from harness.conform.run import certify, choose_targets, read_files
        from harness.conform.terminal import layer_table

        check_writable(out)
        files = read_files(model, expect, inputs, input_shape, read_factory(factory))
        targets, refusals = choose_targets(target, files)
        several = len(targets) + len(refusals) > 1
        folders = {str(one): str(one).replace("/", "-") if several else "." for one in targets}
        name, count = (files.images.name, len(files.images.images)) if files.images else (None, 0)
        settings = Settings(seed, rounds, samples, name, count)
        outcomes = []
        for one in targets:
            outcomes.append(certify(files, one, settings, folder=out / folders[str(one)]))
            console.print(layer_table(outcomes[-1]))
            console.print(f"{one}: {verdict_line(outcomes[-1])}", markup=False, soft_wrap=True)
        for name, reason in refusals.items():
            console.print(f"{name}: not run: {reason}", markup=False, soft_wrap=True)
        if several:
            write_lines(out / "index.html", index_page(outcomes, refusals, folders))
        if json_path is not None:
            write_json(json_path, {"certificates": [certificate(outcome) for outcome in outcomes]})
        console.print(f"report: {out / 'index.html'}", markup=False, soft_wrap=True)
        if not all(outcome.passed for outcome in outcomes):
            raise typer.Exit(ExitCode.SOME_VIOLATED)
