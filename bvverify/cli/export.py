"""The command `bvverify export`."""

from pathlib import Path
from typing import Annotated

import typer

from bvverify.cli.options import (
    ClipOption,
    FactoryOption,
    InputsOption,
    ModelArgument,
    RadiusOption,
    RegionOption,
    TargetOption,
    TieOption,
    images_and_model,
    read_indices,
)
from bvverify.cli.output import out, write_lines
from bvverify.exit_codes import reported
from bvverify.queries import RegionKind, Robustness, TieRule, read_clip, read_radius, region_around


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

        images, deployed = images_and_model(inputs, model, factory)
        (index,) = read_indices(str(index), images)
        lowered = lower(deployed.model, Target.parse(target))
        ball = region_around(images.images[index], region, read_radius(radius, region), read_clip(clip))
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
        write_lines(smtlib, lines)
        out.print(f"{smtlib}: {smtlib.stat().st_size:,} bytes, status {status}")
