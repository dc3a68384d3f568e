"""The exact integer program: StepNetwork, its operations, and how to build one by hand."""

from bvverify.network.build import NetworkBuilder, Window
from bvverify.network.digest import network_digest
from bvverify.network.exact import IntArray
from bvverify.network.operations import ALWAYS, NEVER, Affine, Clamp, Gather, Lookup, Max, Operation, Product, Step
from bvverify.network.step_network import Node, StepNetwork, Value
from bvverify.network.thresholds import shift_rule, step_of_rule

__all__ = [
    "ALWAYS",
    "NEVER",
    "Affine",
    "Clamp",
    "Gather",
    "IntArray",
    "Lookup",
    "Max",
    "NetworkBuilder",
    "Node",
    "Operation",
    "Product",
    "Step",
    "StepNetwork",
    "Value",
    "Window",
    "network_digest",
    "shift_rule",
    "step_of_rule",
]
