"""What a run and its child processes say to each other, beside jobs and decisions."""

from dataclasses import dataclass

from bvverify.network import StepNetwork


@dataclass(frozen=True, eq=False)
class TakeNetwork:
    """Request: remember this network under its digest."""

    digest: str
    network: StepNetwork


@dataclass(frozen=True)
class NeedsNetwork:
    """Reply: the job speaks of a network that this process was not given."""
