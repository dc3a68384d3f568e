"""The folder of a report."""

import tempfile
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
