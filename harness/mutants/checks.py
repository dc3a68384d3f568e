"""Everything that must hold of unmutated code, as a sequence of named checks: free of torch.

Lowered bytes are those that real kernels computed; the encoding is the network, on the cases' inputs and on all
inputs of small regions, also as formulas in a solver; intervals enclose the network and are exact where they must be;
what intervals and linear bounds say and prove is true.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from pysmt.environment import reset_env

from bvverify.bounds.idle import without_idle_clamps
from bvverify.bounds.restriction import restricted
from bvverify.encode import PysmtTerms, encode
from bvverify.errors import BvverifyError, InternalError
from bvverify.kernels.float32 import fma
from bvverify.kernels.lower import lower
from bvverify.network import Clamp, IntArray, Step, StepNetwork
from bvverify.queries import LevelBox, Robustness
from bvverify.search.intervals import proved_by_intervals
from bvverify.solvers import Status, check
from harness.concrete_terms import ConcreteTerms
from harness.corpus import identity_fault
from harness.mutants.bound_faults import bounds_fault
from harness.mutants.recorded import Recorded
from harness.mutants.small_networks import SmallQuestion, near_robust, points_of, pooled_question, small_question
from harness.sameness import SOLVER, encoding_fault, region

Check = tuple[str, Callable[[], str]]
"""A name and a function that returns what is wrong, empty if nothing is."""

_SMALL, _SOLVED = 250, 12
"""Numbers of random questions of each kind that are looked at and that are solved."""
_SUBSTITUTED = 12
"""How many inputs of a question are put into its pysmt formula."""
_COMPARISONS = 1500
"""Recorded networks with more comparisons than these are not encoded."""


def all_checks(records: Sequence[Recorded], *, networks_first: bool) -> Iterator[Check]:
    """Yield every check; `networks_first` puts those that need no kernel before those that do."""
    groups = [_network_checks(), _kernel_checks(records)]
    for group in groups if networks_first else reversed(groups):
        yield from group


def _kernel_checks(records: Sequence[Recorded]) -> Iterator[Check]:
    for record in records:
        yield f"{record.name} on {record.target}", partial(bytes_fault, record)


def _network_checks() -> Iterator[Check]:
    yield "fused multiply-add", fma_fault
    for kind, make in (("small", small_question), ("dense", near_robust), ("pooled", pooled_question)):
        for seed in range(_SMALL):
            yield f"{kind} network {seed}", partial(_judged, make, small_fault, seed)
        for seed in range(_SMALL, _SMALL + _SOLVED):
            yield f"solved {kind} network {seed}", partial(_judged, make, solver_fault, seed)


def _judged(
    make: Callable[[np.random.Generator], SmallQuestion], fault: Callable[[SmallQuestion], str], seed: int
) -> str:
    return fault(make(np.random.default_rng(seed)))


def bytes_fault(record: Recorded) -> str:
    """Return how lowering, its network, its intervals or its encoding miss what is recorded."""
    try:
        lowered = lower(record.model, record.target)
    except InternalError:
        raise
    except BvverifyError as refusal:
        if isinstance(record.expected, str) and record.expected in str(refusal):
            return ""
        return f"refused: {refusal}"
    if isinstance(record.expected, str):
        return f"lowered, but should be refused: {record.expected}"
    network, levels = lowered.network, lowered.levels(record.inputs)
    if (wrong := (network.evaluate(levels) != record.expected).any(axis=1)).any():
        return f"{int(wrong.sum())} of {len(wrong)} results differ from the kernel's"
    point = levels[0]
    ends = network.interval(point, point)[-1]
    if any((end.reshape(-1) != record.expected[0]).any() for end in ends):
        return "the interval of one input is not its output"
    if any(isinstance(node.operation, Clamp) for node in network.nodes):
        low, high = np.maximum(levels.min(axis=0), network.lower), np.minimum(levels.max(axis=0), network.upper)
        if fault := smaller_fault(network, LevelBox.of(low, high), levels):
            return fault
    if _comparisons(network) > _COMPARISONS:
        return ""
    return encoded_fault(network, region(network, point, free=3, reach=None), point[None], record.expected[:1])


def smaller_fault(network: StepNetwork, box: LevelBox, points: IntArray) -> str:
    """Return how smaller networks for a region miss what the network computes at some of its points."""
    values = network.interval(box.lower, box.upper)
    expected = network.evaluate(points)
    if (without_idle_clamps(network, values).evaluate(points) != expected).any():
        return "a network without idle clamps computes something else"
    if (restricted(network, values).network.evaluate(points) != expected).any():
        return "a network restricted to its region computes something else"
    return ""


def encoded_fault(network: StepNetwork, box: LevelBox, points: IntArray, expected: IntArray) -> str:
    """Return how the encoding of a region, computed at `points`, misses the outputs `expected`."""
    encoding = encode(network, box, Robustness(0, network.outputs), ConcreteTerms(_words(box, points)))
    for word, column in zip(encoding.outputs, expected.T, strict=True):
        values = np.zeros(len(points), dtype=np.int64) if word.term is None else word.term.values
        if (word.lower + values != column).any():
            return "the encoding's outputs are not the network's"
    allowed = np.ones(len(points), dtype=bool)
    for condition in encoding.domain:
        allowed &= condition.values
    if allowed.tolist() != [box.contains(point) for point in points]:
        return "the encoding's domain is not the region"
    return ""


def small_fault(question: SmallQuestion) -> str:
    """Return what is wrong with a small question, by looking at every input of its region."""
    network, box, points = question.network, question.box, question.points
    hull = points_of(LevelBox.of(box.lower, box.upper))
    if fault := encoded_fault(network, box, hull, network.evaluate(hull)):
        return fault
    outputs = network.evaluate(points)
    violated = question.property.violated_by(outputs)
    if fault := smaller_fault(network, box, points):
        return fault
    if (violated != _violated(question, outputs)).any():
        return "the property judges outputs wrongly"
    terms = ConcreteTerms(_words(box, points))
    violation = encode(network, box, question.property, terms).violation
    if (np.broadcast_to(violation.values, len(points)) != violated).any():
        return "the encoding's violation is not the property's"
    for (low, high), values in zip(
        network.interval(box.lower, box.upper),
        network.evaluate_values(points, range(len(network.nodes) + 1)),
        strict=True,
    ):
        if (values < low).any() or (values > high).any():
            return "a value leaves its interval"
    for point, output in zip(points[:3], outputs, strict=False):
        if any((end.reshape(-1) != output).any() for end in network.interval(point, point)[-1]):
            return "the interval of one input is not its output"
        alone = LevelBox.of(point, point)
        if proved_by_intervals(network, alone, question.property) == bool(
            question.property.violated_by(output[None])[0]
        ):
            return "intervals do not decide a single input"
    if proved_by_intervals(network, box, question.property) and violated.any():
        return "intervals prove what is false"
    return bounds_fault(question, violated)


def solver_fault(question: SmallQuestion) -> str:
    """Return what is wrong with a small question as formulas in a solver, in both forms."""
    network, box, point = question.network, question.box, question.points[0]
    if fault := encoding_fault(network, point, network.evaluate(point[None])[0]):
        return fault
    if fault := identity_fault(network, point):
        return fault
    environment = reset_env()
    terms = PysmtTerms(environment)
    encoding = encode(network, box, question.property, terms)
    violated = question.property.violated_by(network.evaluate(question.points))
    for point, expected in list(zip(question.points, violated, strict=True))[:_SUBSTITUTED]:
        constants = {
            terms.symbol(name, width := int(box.upper.flat[element] - base).bit_length()): terms.constant(
                int(point.flat[element]) - base, width
            )
            for name, (element, base) in encoding.inputs.items()
        }
        if encoding.violation.substitute(constants).simplify() != environment.formula_manager.Bool(bool(expected)):
            return "the formula's violation, put to an input, is wrong"
    formula = environment.formula_manager.And([*encoding.domain, encoding.violation])
    answer = check(formula, solver=SOLVER)
    return "" if answer.status is (Status.SAT if violated.any() else Status.UNSAT) else "the solver's answer is wrong"


def fma_fault() -> str:
    """Return what is wrong with a fused multiply-add whose sum in double precision lies on a tie and is none."""
    left, right = (np.array([number * 2.0**-30], dtype=np.float32) for number in (1774001, 38737))
    one = np.ones(1, dtype=np.float32)  # left * right = 2**-24 + 2**-60
    return "" if fma(left, right, one)[0] == np.float32(1 + 2.0**-23) else "it is rounded twice"


def _comparisons(network: StepNetwork) -> int:
    """Return how many comparisons with thresholds the network's staircases hold."""
    pairs = zip(network.nodes, network.values[1:], strict=True)
    return sum(value.lower.size * node.operation.levels for node, value in pairs if isinstance(node.operation, Step))


def _violated(question: SmallQuestion, outputs: IntArray) -> np.ndarray:
    """Return which outputs violate the property, by its definition in words."""
    label = question.property.label
    own, others = outputs[:, label], np.delete(outputs, label, axis=1)
    match question.property.tie.value:
        case "lowest-index":
            return np.asarray(outputs.argmax(axis=1) != label)
        case "any-tie-violates":
            return np.asarray((others >= own[:, None]).any(axis=1))
        case _:
            return np.asarray((others > own[:, None]).any(axis=1))


def _words(box: LevelBox, points: IntArray) -> dict[str, IntArray]:
    flat = points.reshape(len(points), -1) - box.lower.reshape(-1)
    return {f"x{element}": flat[:, element] for element in range(flat.shape[1])}
