"""Query: what a user asks about one input."""

from dataclasses import dataclass

from bvverify.queries.properties import Robustness
from bvverify.queries.regions import Region


@dataclass(frozen=True)
class Query:
    """Does `property` hold for every real input of `region`?"""

    region: Region
    property: Robustness
