"""Exit codes of the command line, and how errors reach them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import typer
from rich.console import Console

from bvverify.errors import BvverifyError, InternalError

err = Console(stderr=True)


class ExitCode(IntEnum):
    """What the process says to the shell; see `bvverify verify --help`."""

    ALL_ROBUST = 0
    SOME_VIOLATED = 1
    USAGE = 2
    SOME_UNKNOWN = 3
    INTERNAL_ERROR = 4
    INTERRUPTED = 130


@contextmanager
def reported() -> Iterator[None]:
    """Turn errors meant for users into one line and an exit code; silence torch's notices about its own future."""
    warnings.filterwarnings("ignore", module=r"torch\.")
    try:
        yield
    except BvverifyError as error:
        err.print(f"error: {error}", markup=False, soft_wrap=True)
        code = ExitCode.INTERNAL_ERROR if isinstance(error, InternalError) else ExitCode.USAGE
        raise typer.Exit(code) from error
    except KeyboardInterrupt as error:
        err.print("interrupted")
        raise typer.Exit(ExitCode.INTERRUPTED) from error
