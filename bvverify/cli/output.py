"""Where commands write: the console, progress, and whole files or none."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bvverify.errors import UsageError
from bvverify.exit_codes import err

out = Console()


def progress_bar() -> Progress:
    """Return a progress bar on standard error that leaves nothing behind."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=err, transient=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a whole JSON file or none of it."""
    write_lines(path, [json.dumps(content, indent=2)])


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a whole file or none of it."""
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from error
    finally:  # also when the lines end with an exception, or with an interrupt
        draft.unlink(missing_ok=True)
