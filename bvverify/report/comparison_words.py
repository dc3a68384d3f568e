"""A comparison in words, as all forms of its report use them."""

from collections.abc import Sequence
from dataclasses import dataclass

from bvverify.compare import Comparison, Side, VerdictPair


@dataclass(frozen=True, eq=False)
class Compared:
    """Everything that a report on a comparison shows."""

    comparison: Comparison
    verdicts: tuple[VerdictPair, ...] | None
    """None if no verdicts were asked for."""
    settings: dict[str, str]
    """What was asked, and within which limits."""

    @property
    def verdicts_that_differ(self) -> list[VerdictPair]:
        """Questions that one side answers robust and the other violated."""
        return [pair for pair in self.verdicts or () if pair.differs]

    @property
    def undecided(self) -> int:
        """How many questions are unknown on a side."""
        return sum(pair.undecided for pair in self.verdicts or ())

    @property
    def differs(self) -> bool:
        """Whether anything differs that was compared."""
        return self.comparison.differs or bool(self.verdicts_that_differ)


def side_names(comparison: Comparison) -> tuple[str, str]:
    """Return what tells the two sides apart: targets, models, or both."""
    first, second = comparison.first, comparison.second
    if first.digest == second.digest and first.target != second.target:
        return str(first.target), str(second.target)
    names = [first.model, second.model]
    if first.model == second.model and first.digest != second.digest:
        names = [f"{side.model} ({side.digest[:8]})" for side in (first, second)]
    if first.target != second.target:
        names = [f"{name} on {side.target}" for name, side in zip(names, (first, second), strict=True)]
    return names[0], names[1]


def title(comparison: Comparison) -> str:
    """Return what is compared with what."""
    first, second = comparison.first, comparison.second
    names = " and ".join(side_names(comparison))
    if first.digest == second.digest and first.target != second.target:
        return f"{first.model}: {names}"
    return f"{names} on {first.target}" if first.target == second.target else names


def headline(compared: Compared) -> str:
    """Return what was found, in a sentence or two."""
    comparison = compared.comparison
    count = len(comparison.positions)
    if not compared.differs and not comparison.incomparable:
        text = f"No difference: {many(count, 'image')}, the same output bytes and predictions"
    else:
        found = [(int(comparison.predictions_differ.sum()), ("gets", "get"), "another prediction")]
        if not comparison.incomparable:
            found.insert(0, (int((comparison.distances > 0).sum()), ("gives", "give"), "other output bytes"))
        parts = [f"{_none_or(part)} {verbs[part > 1]} {what}" for part, verbs, what in found]
        text = f"Of {many(count, 'image')}, {' and '.join(parts)}"
    hidden = [layer.name for layer in comparison.layers if layer.images]
    if hidden and not comparison.distances.any() and not comparison.predictions_differ.any():
        text += f"; bytes inside differ, in layers {', '.join(hidden)}"
    if compared.verdicts is not None:
        differ, asked = len(compared.verdicts_that_differ), many(len(compared.verdicts), "question")
        text += f". Of {asked}, {_none_or(differ)} {'have' if differ > 1 else 'has'} verdicts that differ"
        text += f", and {compared.undecided:,} {'is' if compared.undecided == 1 else 'are'} undecided on a side"
    return f"{text}."


def confirmation(side: Side) -> str:
    """Return whether the real kernel has confirmed a side's bytes."""
    if side.unconfirmed is None:
        return "every byte of every layer confirmed on the real kernel"
    return f"not confirmed on this machine: {side.unconfirmed}"


def accuracy(side: Side, comparison: Comparison) -> str:
    """Return how many labels a side predicts; nothing without labels."""
    if comparison.labels is None:
        return ""
    correct, count = side.correct(comparison.labels), len(comparison.labels)
    return f"{correct:,} of {count:,} ({correct / count:.2%})".replace("%", " %")


def right_and_wrong(comparison: Comparison) -> list[tuple[str, int]]:
    """Return, for the images whose predictions differ, which side is right, and how often; nothing without labels."""
    if comparison.labels is None:
        return []
    names = side_names(comparison)
    first = comparison.first.classes == comparison.labels
    second = comparison.second.classes == comparison.labels
    both = comparison.predictions_differ & ~first & ~second
    return [
        (f"only {names[0]} is right", int((first & ~second).sum())),
        (f"only {names[1]} is right", int((second & ~first).sum())),
        ("both are wrong, each in its own way", int(both.sum())),
    ]


def outcomes(verdicts: Sequence[VerdictPair]) -> dict[tuple[str, str], int]:
    """Return how often each pair of outcomes occurs, the most frequent first."""
    found: dict[tuple[str, str], int] = {}
    for pair in verdicts:
        key = (str(pair.first.outcome), str(pair.second.outcome))
        found[key] = found.get(key, 0) + 1
    return dict(sorted(found.items(), key=lambda entry: -entry[1]))


def many(count: int, what: str) -> str:
    """Return a count of things."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def share(part: int, whole: int) -> str:
    """Return a percentage that says 0 only for nothing and 100 only for everything."""
    if part in (0, whole):
        return "100 %" if part else "0 %"
    return f"{min(max(part / whole * 100, 0.01), 99.99):.2f} %"


def _none_or(count: int) -> str:
    return f"{count:,}" if count else "none"
