"""The command line: its commands, and how the process ends."""

import os

import typer

from bvverify.cli.compare import compare
from bvverify.cli.export import export
from bvverify.cli.inspect import inspect
from bvverify.cli.prove_lowering import prove_lowering
from bvverify.cli.radius import radius
from bvverify.cli.range import output_range
from bvverify.cli.report import report
from bvverify.cli.run import run
from bvverify.cli.targets import targets
from bvverify.cli.verify import verify
from bvverify.exit_codes import ExitCode, err
from harness.conform.command import conform

app = typer.Typer(
    name="bvverify",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Exact verdicts about quantized neural networks: about the bytes that PyTorch's CPU kernels compute.",
)
for command in (verify, radius, run, report, compare, inspect, export, conform, prove_lowering, targets):
    app.command()(command)
app.command("range")(output_range)


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
