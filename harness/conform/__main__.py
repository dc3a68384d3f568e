"""`python -m harness.conform`."""

import typer

from harness.conform.command import conform

typer.run(conform)
