"""A comparison as JSON."""

from fractions import Fraction
from importlib.metadata import version
from typing import Any

from bvverify.compare import Comparison, LayerComparison, Side, VerdictPair
from bvverify.report.comparison_words import Compared

FORMAT = 1
"""Version of the layout; it grows when a reader of an older one would go wrong."""


def comparison_as_json(compared: Compared) -> dict[str, Any]:
    """Return the counts, and every image and every verdict that differs, as plain values.

    `images` holds the images whose output bytes or predictions differ, each by its index in the inputs file, with
    both sides' bytes; where output bytes cannot be compared, those whose predictions differ.
    """
    comparison = compared.comparison
    return {
        "format": FORMAT,
        "bvverify": version("bvverify"),
        "differs": compared.differs,
        "inputs": comparison.inputs,
        "count": len(comparison.positions),
        "first": _side(comparison.first, comparison),
        "second": _side(comparison.second, comparison),
        "output_bytes": _output_bytes(comparison),
        "predictions": {"images": int(comparison.predictions_differ.sum())},
        "layers": [_layer(layer) for layer in comparison.layers],
        "layers_not_compared": [vars(layer) for layer in comparison.skipped],
        "images": [_image(comparison, row) for row in comparison.ranked.tolist()],
        "verdicts": None if compared.verdicts is None else _verdicts(compared, compared.verdicts),
    }


def _side(side: Side, comparison: Comparison) -> dict[str, Any]:
    return {
        "model": {"name": side.model, "sha256": side.digest, "input_shape": list(side.input_shape)},
        "target": str(side.target),
        "runtime": side.target.runtime,
        "confirmed": side.unconfirmed is None,
        "unconfirmed": side.unconfirmed,
        "output": {"scale": side.params.scale, "zero_point": side.params.zero_point, "signed": side.params.signed},
        "correct": None if comparison.labels is None else side.correct(comparison.labels),
    }


def _output_bytes(comparison: Comparison) -> dict[str, Any]:
    if comparison.incomparable:
        return {"compared": False, "reason": comparison.incomparable, "images": None, "bytes": None, "largest": None}
    return {
        "compared": True,
        "reason": None,
        "images": int((comparison.distances > 0).sum()),
        "bytes": comparison.bytes_that_differ,
        "largest": int(comparison.distances.max(initial=0)),
    }


def _layer(layer: LayerComparison) -> dict[str, Any]:
    return {
        "name": layer.name,
        "type": layer.kind,
        "shape": list(layer.shape),
        "compared": layer.compared,
        "images": layer.images,
        "bytes": layer.bytes,
        "largest": layer.largest,
        "index_of_largest": layer.example,
    }


def _image(comparison: Comparison, row: int) -> dict[str, Any]:
    sides = {"first": comparison.first, "second": comparison.second}
    return {
        "index": int(comparison.positions[row]),
        "label": None if comparison.labels is None else int(comparison.labels[row]),
        "largest": None if comparison.incomparable else int(comparison.distances[row]),
        **{
            name: {"prediction": int(side.classes[row]), "bytes": side.outputs[row].tolist()}
            for name, side in sides.items()
        },
    }


def _verdicts(compared: Compared, pairs: tuple[VerdictPair, ...]) -> dict[str, Any]:
    return {
        "settings": compared.settings,
        "questions": len(pairs),
        "differ": len(compared.verdicts_that_differ),
        "undecided": compared.undecided,
        "results": [_pair(pair) for pair in pairs],
    }


def _pair(pair: VerdictPair) -> dict[str, Any]:
    result: dict[str, Any] = {
        "index": pair.position,
        "radius": _number(pair.radius),
        "differs": pair.differs,
        "first": pair.first.as_json(),
        "second": pair.second.as_json(),
    }
    if pair.witness is not None:
        first, second = (outputs.tolist() for outputs in pair.witness.outputs)
        result["witness"] = {"input": pair.witness.real.tolist(), "first": first, "second": second}
    return result


def _number(radius: Fraction) -> int | str:
    """Return a whole radius as a number, another as a fraction such as 1/255."""
    return int(radius) if radius.denominator == 1 else str(radius)
