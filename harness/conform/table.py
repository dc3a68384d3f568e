"""Certificates of several models on all targets, as a page: `python -m harness conform-table --help`."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bvverify.exit_codes import reported
from bvverify.kernels.target import RUNTIME, TARGETS
from harness.conform.certificate import Settings
from harness.conform.page import percent
from harness.conform.run import certify, read_files, refusal

console = Console()

_INTRODUCTION = """\
# Conformance of the MNIST networks

What `bvverify conform` found on one machine ({cpu}, {runtime}): the predicted bytes of every layer
against the real kernels. Each script ran as a whole on {images} images and {samples} random or extreme inputs.
Then each layer ran alone, on inputs constructed so that the accumulator of every output channel is
exactly t - 1 and exactly t for every threshold t within its range over all input bytes. A side counts as
met if the kernel was run on such an accumulator and put out the predicted byte; as unreachable if it was
proved that no input has that accumulator; otherwise as missed. Quantization of the input counts likewise:
the least float32 of every level, and the one below. Where accumulators saturate, the bytes of a constructed
input are compared for the channels that its batch was made for. Seconds are those of a machine that had other
work as well. Made by `python -m harness conform-table`.

| model | target | layers | bytes | different | sides met | missed | unreachable | coverage | seconds |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|
"""


def main(
    *,
    models: Annotated[list[Path], typer.Argument(help="TorchScript files.")],
    inputs: Annotated[Path, typer.Option(help="npz file with real inputs `images`.")],
    folder: Annotated[
        Path, typer.Option(help="Folder of the reports; certificates that are there are not made again.")
    ],
    out: Annotated[Path, typer.Option(help="Markdown page to write.")],
    samples: Annotated[int, typer.Option(min=0, help="Random and extreme inputs for the whole model.")] = 1000,
    rounds: Annotated[int, typer.Option(min=1, help="How often thresholds that are not met yet are tried.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Certify MODELS on every target that can run here; exit code 1 if any byte differs."""
    with reported():
        rows: list[dict[str, Any] | tuple[str, str, str]] = []
        for path in models:
            files = read_files(path, None, inputs, None)
            assert files.images is not None
            settings = Settings(seed, rounds, samples, files.images.name, len(files.images.images))
            for target in TARGETS:
                place = folder / f"{path.stem}-{str(target).replace('/', '-')}"
                if not (place / "certificate.json").exists():
                    if (reason := refusal(target, files)) is not None:
                        rows.append((files.deployed.name, str(target), reason))
                        continue
                    certify(files, target, settings, folder=place)
                rows.append(json.loads((place / "certificate.json").read_text(encoding="utf-8")))
                console.print(_line(rows[-1]), markup=False, soft_wrap=True)
        out.write_text("".join(f"{line}\n" for line in page(rows)), encoding="utf-8")
        raise typer.Exit(int(any(isinstance(row, dict) and row["verdict"] != "pass" for row in rows)))


def page(rows: Sequence[dict[str, Any] | tuple[str, str, str]]) -> Iterator[str]:
    """Yield the lines of a Markdown page about certificates, and (model, target, reason) where there is none."""
    made = [row for row in rows if isinstance(row, dict)]
    first = made[0]
    images = first["inputs"]["count"] if first["inputs"] else 0
    yield from _INTRODUCTION.format(
        cpu=first["cpu"]["model"], runtime=RUNTIME, images=f"{images:,}", samples=f"{first['samples']:,}"
    ).splitlines()
    for row in rows:
        if isinstance(row, tuple):
            model, target, reason = row
            yield f"| {model} | {target} | | not run: {reason} | | | | | | |"
            continue
        count = row["coverage"]
        numbers = (len(row["layers"]), row["bytes"]["compared"], row["bytes"]["different"])
        sides = (count["hit"], count["missed"], count["unreachable"])
        cells = [row["model"]["name"], row["target"], *(f"{number:,}" for number in (*numbers, *sides))]
        yield f"| {' | '.join([*cells, percent(count['fraction']), format(row['seconds'], '.0f')])} |"
    yield _total(made)


def _total(made: Sequence[dict[str, Any]]) -> str:
    def total(group: str, key: str) -> int:
        return sum(row[group][key] for row in made)

    layers = sum(len(row["layers"]) for row in made)
    hit, reachable = total("coverage", "hit"), total("coverage", "reachable")
    numbers = (layers, total("bytes", "compared"), total("bytes", "different"), hit)
    cells = [f"{number:,}" for number in (*numbers, total("coverage", "missed"), total("coverage", "unreachable"))]
    seconds = f"{sum(row['seconds'] for row in made):,.0f}"
    return f"| all | | {' | '.join(cells)} | {percent(hit / reachable if reachable else 1.0)} | {seconds} |"


def _line(row: Any) -> str:
    return (
        f"{row['model']['name']} {row['target']}: {row['verdict']}, {row['bytes']['compared']:,} bytes, "
        f"{percent(row['coverage']['fraction'])} of sides, {row['seconds']} s"
    )
