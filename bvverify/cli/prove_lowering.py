"""The command `bvverify prove-lowering`."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from bvverify.cli.options import InputShapeOption, JsonOption, ModelArgument, SolverOption, read_shape
from bvverify.cli.output import out, progress_bar, write_json
from bvverify.exit_codes import ExitCode, reported

if TYPE_CHECKING:  # torch is imported only by commands that read a model
    from bvverify.kernels.target import Target
    from bvverify.proofs.prove import Proof

_STATUS_STYLES = {"unsat": "green", "sat": "red", "unknown": "yellow"}


def prove_lowering(
    model: ModelArgument,
    *,
    target: Annotated[
        list[str],
        typer.Option(help="engine/isa, an engine alone, or auto; several with commas, or the option several times."),
    ],
    input_shape: InputShapeOption = None,
    full_range: Annotated[
        bool,
        typer.Option(
            "--full-range",
            help="Ask about all of int32, not only about what the layer's inputs can lead to, at the ends where the "
            "output is saturated.",
        ),
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Solver processes.")] = 2,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds per channel, a hard limit.")] = 120.0,
    memory: Annotated[float, typer.Option(min=0.25, help="GiB of memory for each solver process.")] = 4.0,
    store: Annotated[
        Path | None, typer.Option(help="File that keeps the answers; a rerun does not ask again what it holds.")
    ] = None,
    solver: SolverOption = "bitwuzla",
    json_path: JsonOption = None,
) -> None:
    """Prove that the integer thresholds of each channel equal the kernel's float32 arithmetic, by an SMT solver.

    For every accumulator that a channel of a linear layer or convolution can produce, and for every sum or product that
    an addition, a multiplication or an average rounds, the solver shows that the pipeline, written in the theory of
    floating-point numbers, gives the byte that the thresholds give.

    Exit codes: 0 all proved, 1 some counterexample, 2 usage, 3 some unknown and no counterexample, 4 internal error.
    """
    with reported():
        from bvverify.kernels.target import Target
        from bvverify.load import load_model
        from bvverify.proofs.obligations import obligations
        from bvverify.proofs.prove import prove
        from bvverify.proofs.store import Store

        names = [name.strip() for text in target for name in text.split(",")]
        targets = list(dict.fromkeys(Target.parse(name) for name in names))
        deployed = load_model(model, input_shape=None if input_shape is None else read_shape(input_shape))
        results: list[tuple[Target, Proof]] = []
        interrupted = False
        with Store(store) as answers:
            for each in targets:
                wanted = list(obligations(deployed.model, each, full_range=full_range))
                proofs = prove(
                    wanted, answers, solver=solver, jobs=jobs, seconds=timeout, memory_bytes=int(memory * 2**30)
                )
                try:
                    with progress_bar() as progress:
                        task = progress.add_task(f"proving on {each}", total=len(wanted))
                        for proof in proofs:
                            results.append((each, proof))
                            progress.advance(task)
                except KeyboardInterrupt:
                    interrupted = True
                    proofs.close()
                    break
        for each in targets:
            ours = [proof for owner, proof in results if owner == each]
            _show(ours, title=f"{deployed.name} on {each}")
        if json_path is not None:
            settings = {"full_range": full_range, "timeout": timeout, "interrupted": interrupted}
            identity = {"name": deployed.name, "sha256": deployed.digest}
            rows = [_as_json(owner, proof) for owner, proof in results]
            write_json(json_path, {"model": identity, **settings, "results": rows})
        raise typer.Exit(_exit_code([proof for _, proof in results], interrupted))


def _show(proofs: "Sequence[Proof]", *, title: str) -> None:
    """Print one row per layer, and a line for each channel that is not proved."""
    layers: dict[str, list[Proof]] = defaultdict(list)
    for proof in proofs:
        layers[proof.obligation.layer].append(proof)
    table = Table(title=title)
    for heading in ("layer", "channels", "proved", "counterexamples", "unknown", "median s", "max s"):
        table.add_column(heading, justify="left" if heading == "layer" else "right")
    for name, ours in layers.items():
        statuses = [proof.entry.status for proof in ours]
        counts = [
            f"[{_STATUS_STYLES[status]}]{count}[/]" if (count := statuses.count(status)) else "0"
            for status in ("unsat", "sat", "unknown")
        ]
        seconds = [proof.entry.seconds for proof in ours]
        table.add_row(name, str(len(ours)), *counts, f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}")
    out.print(table)
    for proof in proofs:
        if proof.entry.status != "unsat":
            out.print(_remark(proof), markup=False, soft_wrap=True)


def _remark(proof: "Proof") -> str:
    form = f" ({proof.obligation.form})" if proof.obligation.form else ""
    where = f"layer {proof.obligation.layer}, channel {proof.obligation.channel}{form}"
    example = proof.entry.counterexample
    if example is None:
        return f"{where}: unknown ({proof.entry.reason})"
    operands = "" if example.operands is None else f" of bytes {example.operands[0]} and {example.operands[1]}"
    return (
        f"{where}: for accumulator {example.accumulator}{operands} the pipeline gives {example.computed}, "
        f"the thresholds {example.claimed}"
    )


def _as_json(target: "Target", proof: "Proof") -> dict[str, Any]:
    example = proof.entry.counterexample
    return {
        "target": str(target),
        "layer": proof.obligation.layer,
        "channel": proof.obligation.channel,
        "form": proof.obligation.form,
        "lower": proof.obligation.lower,
        "upper": proof.obligation.upper,
        "obligation": proof.obligation.digest,
        "solver": f"{proof.entry.solver} {proof.entry.version}",
        "status": proof.entry.status,
        "reason": proof.entry.reason,
        "seconds": proof.entry.seconds,
        "stored": proof.stored,
        "counterexample": None
        if example is None
        else {
            "accumulator": example.accumulator,
            "operands": example.operands,
            "computed": example.computed,
            "claimed": example.claimed,
        },
    }


def _exit_code(proofs: "Sequence[Proof]", interrupted: bool) -> ExitCode:
    statuses = {proof.entry.status for proof in proofs}
    if interrupted:
        return ExitCode.INTERRUPTED
    if "sat" in statuses:
        return ExitCode.SOME_VIOLATED
    return ExitCode.SOME_UNKNOWN if "unknown" in statuses else ExitCode.ALL_ROBUST
