"""The commands of the harness: `python -m harness --help`."""

import typer

from harness import corpus_command, model_bytes
from harness.conform import table
from harness.differential import command as differential
from harness.mutants import command as mutants

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Checks of bvverify's semantics against PyTorch's real kernels.",
)
app.command("differential")(differential.main)
app.command("mutants")(mutants.main)
app.add_typer(corpus_command.app, name="corpus")
app.command("model-bytes")(model_bytes.main)
app.command("conform-table")(table.main)

if __name__ == "__main__":
    app(prog_name="python -m harness")
