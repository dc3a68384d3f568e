"""What processes there are below one."""

from pathlib import Path


def parents() -> dict[int, int]:
    """Return the parent of every living process."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(") ")[2].split()[:2]
            except OSError:
                continue
            if state != "Z":
                found[int(entry.name)] = int(parent)
    return found


def descendants(process: int) -> list[int]:
    """Return the children of a process, their children, and so on."""
    above = parents()
    found, wanted = [], {process}
    while wanted:
        wanted = {child for child, parent in above.items() if parent in wanted}
        found.extend(sorted(wanted))
    return found


def is_alive(process: int) -> bool:
    return process in parents()


def module_of(process: int) -> str:
    """Return what a Python process was started with behind `-m`."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
    except OSError:
        return ""
    return words[words.index("-m") + 1] if "-m" in words else ""
