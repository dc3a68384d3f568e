"""Files: whole ones or none, so that an interrupted run leaves nothing that looks like a result."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from bvverify.errors import UsageError


def check_writable(folder: Path) -> None:
    """Make a folder; refuse one before long work is done for what could not be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror or error})") from error


def write_whole(path: Path, lines: Iterable[str]) -> None:
    """Write a file, or none of it if the lines end with an exception."""
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        draft.unlink(missing_ok=True)
