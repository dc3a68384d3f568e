"""The table of mutants as a Markdown page."""

from collections.abc import Iterator, Sequence

from harness.mutants.runner import Fate


def page(fates: Sequence[Fate]) -> Iterator[str]:
    """Yield the lines of a page about all mutants."""
    killed = sum(bool(fate.killer) for fate in fates)
    yield "# Mutants"
    yield ""
    yield "Each row is a mistake that a person could make, planted in the source. The harness must notice it: by a byte"
    yield "that the real kernel does not compute, a refusal that is lost, an encoding that is not its network, an"
    yield f"interval that does not enclose. {killed} of {len(fates)} mutants are noticed."
    yield "Made by `python -m harness mutants`."
    yield ""
    yield "| mutant | mistake | file | noticed by | seconds |"
    yield "|---|---|---|---|---|"
    for fate in fates:
        mutant, killer = fate.mutant, fate.killer or "**nothing**"
        yield f"| {mutant.name} | {mutant.description} | `{mutant.file}` | {killer} | {fate.seconds:.1f} |"
