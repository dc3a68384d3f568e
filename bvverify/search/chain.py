"""Chains: networks of dense layers, each followed by a staircase."""

from __future__ import annotations

from dataclasses import dataclass

from bvverify.bounds.boxfed import BoxUnits, box_units
from bvverify.network import Affine, Step, StepNetwork


@dataclass(frozen=True, eq=False)
class Chain:
    """A network of dense layers, the last of which gives the outputs."""

    network: StepNetwork
    units: BoxUnits
    """Of the first layer, one sum each."""
    first: Step
    layers: list[tuple[Affine, Step]]
    """Those behind the first."""

    @classmethod
    def of(cls, network: StepNetwork) -> Chain | None:
        """Return a network as a chain, None if it is not one."""
        for value, units in box_units(network).items():
            first, rest = network.nodes[units.step].operation, network.nodes[value:]
            dense = units.weight.shape[1] == 1 and bool((units.inputs >= 0).all())
            if not (dense and isinstance(first, Step) and first.levels and len(rest) >= 2 and len(rest) % 2 == 0):
                continue
            layers = []
            for place, (affine, step) in enumerate(zip(rest[::2], rest[1::2], strict=True)):
                at = value + 2 * place
                if (affine.inputs, step.inputs) != ((at,), (at + 1,)):
                    break
                match affine.operation, step.operation:
                    case Affine() as layer, Step() as stairs if (
                        layer.weight.shape[:2] == (1, network.values[at + 1].lower.size) and stairs.levels
                    ):
                        layers.append((layer, stairs))
            if 2 * len(layers) == len(rest) and network.values[value].lower.size == len(units.elements):
                return cls(network, units, first, layers)
        return None
