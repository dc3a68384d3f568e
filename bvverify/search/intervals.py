"""Stage `intervals`: exact integer intervals, one pass, no splitting."""

from bvverify.network import StepNetwork
from bvverify.queries import LevelBox, Robustness


def proved_by_intervals(network: StepNetwork, box: LevelBox, question: Robustness) -> bool:
    """Return whether intervals alone prove `question` for every input of `box`; they never refute."""
    lower, upper = (end.reshape(-1) for end in network.interval(box.lower, box.upper)[-1])
    return all(int(upper[rival]) - int(lower[question.label]) < margin for rival, margin in question.rivals())
