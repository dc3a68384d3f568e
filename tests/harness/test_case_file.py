"""Case files: what is written is read back exactly, and what is malformed is named in one line."""

import json
import types
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bvverify.errors import InputError
from bvverify.kernels.target import TARGETS
from bvverify.model import BatchNorm2d, Conv2d, Linear, Quantize, QuantizedModel, QuantParams, Weight
from bvverify.model.quantized import Layer
from harness.case_file import CaseFile, Expectation, case_of, json_of, read_case, write_case
from harness.records import from_json, kinded, pretty

LINE = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=8)
SMALL = st.integers(1, 3)


def same(left: Any, right: Any) -> bool:
    """Return whether two records are equal to the last bit and type, arrays and signs of zeros included."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if is_dataclass(left):
        return all(same(getattr(left, field.name), getattr(right, field.name)) for field in fields(left))
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left.hex() == right.hex() if isinstance(left, float) else left == right


@st.composite
def arrays(draw: st.DrawFn, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    dtype, count = np.dtype(dtype), int(np.prod(shape))
    if dtype.kind == "f":
        numbers = st.floats(width=8 * dtype.itemsize, allow_nan=False)
    else:
        numbers = st.integers(np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.array(draw(st.lists(numbers, min_size=count, max_size=count)), dtype=dtype).reshape(shape)


@st.composite
def weights(draw: st.DrawFn, axes: int) -> Weight:
    shape = tuple(draw(SMALL) for _ in range(axes))
    per_channel = draw(st.booleans())
    parameters = (shape[0] if per_channel else 1,)
    return Weight(
        draw(arrays(np.int8, shape)),
        draw(arrays(np.float64, parameters)),
        draw(arrays(np.int64, parameters)),
        per_channel,
    )


@st.composite
def of_type(draw: st.DrawFn, type_: Any) -> Any:
    """Any object of a type that occurs in records."""
    origin, arguments = get_origin(type_), get_args(type_)
    if origin in (Union, types.UnionType):
        return draw(of_type(draw(st.sampled_from(arguments))))
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return tuple(draw(st.lists(of_type(arguments[0]), max_size=3)))
        return tuple(draw(of_type(argument)) for argument in arguments)
    if type_ in (Linear, Conv2d):
        weight = draw(weights(2 if type_ is Linear else 4))
        bias = draw(st.none() | arrays(np.float32, (len(weight.values),)))
        given_fields = {"weight": weight, "bias": bias}
    elif type_ is BatchNorm2d:
        channels = draw(SMALL)
        names = ("weight", "bias", "mean", "variance")
        given_fields = {name: draw(arrays(np.float32, (channels,))) for name in names}
    else:
        given_fields = {}
    if is_dataclass(type_):
        hints = get_type_hints(type_)
        for field in fields(type_):
            if field.name not in given_fields and (field.default is MISSING or draw(st.booleans())):
                given_fields[field.name] = draw(of_type(hints[field.name]))
        return type_(**given_fields)
    if issubclass(type_, StrEnum):
        return draw(st.sampled_from(list(type_)))
    simple = {int: st.integers(), bool: st.booleans(), float: st.floats(allow_nan=False), str: LINE}
    return None if type_ is types.NoneType else draw(simple[type_])


@st.composite
def cases(draw: st.DrawFn) -> CaseFile:
    layers = draw(st.lists(of_type(Layer), min_size=1, max_size=4, unique_by=lambda layer: layer.name))
    earlier = (st.lists(st.integers(0, index), min_size=1, max_size=2).map(tuple) for index in range(len(layers)))
    sources = draw(st.just(()) | st.tuples(*earlier))
    shape = tuple(draw(st.lists(SMALL, min_size=1, max_size=3)))
    count = draw(SMALL)
    inputs = draw(arrays(draw(st.sampled_from([np.uint8, np.int8, np.float32])), (count, *shape)))
    result = st.integers(0, 2).flatmap(lambda extra: arrays(np.uint8, (count, 2 + extra))).map(np.int64)
    targets = draw(st.permutations(TARGETS))
    cut = draw(st.integers(1, len(targets) - 1))
    refused = Expectation(tuple(targets[cut:]), None, draw(LINE), draw(st.none() | LINE | result))
    expected = (Expectation(tuple(targets[:cut]), draw(result)), refused)
    upstream = tuple(draw(st.lists(LINE, max_size=2)))
    return CaseFile(draw(LINE), draw(LINE), upstream, QuantizedModel(shape, tuple(layers), sources), inputs, expected)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_what_is_written_is_read_back_exactly(case: CaseFile, tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    write_case(path, case)
    read = read_case(path)
    assert same(read, case)
    assert read.model.sources == case.model.sources
    assert path.read_text(encoding="utf-8") == pretty(json_of(read))


@settings(deadline=None)
@given(of_type(Layer))
def test_layers_are_written_with_their_class(layer: Layer) -> None:
    record = json.loads(json.dumps(kinded(layer)))
    assert record["kind"] == type(layer).__name__
    assert same(from_json(Layer, record, "layer"), layer)


def test_special_reals_are_kept() -> None:
    values = np.array([np.inf, -np.inf, -0.0, 1e-45, 0.1], dtype=np.float32)
    read = from_json(np.ndarray[Any, np.dtype[np.float32]], [x.hex() for x in values.astype(float).tolist()], "x")
    assert same(read, values)
    assert np.isnan(from_json(float, "nan", "x"))


def a_case() -> CaseFile:
    weight = Weight(np.array([[127, -128]], dtype=np.int8), np.array([0.5]), np.array([0]), False)
    layers = (Quantize("q", QuantParams(1.0, 0)), Linear("fc", weight, None, False, QuantParams(2.0, 3)))
    expected = (
        Expectation(TARGETS[:3], np.array([[5]])),
        Expectation(TARGETS[3:5], None, "refused because", np.array([[7]])),
    )
    return CaseFile("name", "cause", ("ours",), QuantizedModel((2,), layers), np.array([[1, 2]], np.uint8), expected)


def test_the_text_is_compact_and_readable() -> None:
    assert pretty(json_of(a_case())).splitlines()[:10] == [
        "{",
        '  "name": "name",',
        '  "cause": "cause",',
        '  "upstream": ["ours"],',
        '  "input_shape": [2],',
        '  "layers": [',
        '    {"kind": "Quantize", "name": "q", "output": {"scale": "0x1p+0", "zero_point": 0}},',
        "    {",
        '      "kind": "Linear",',
        '      "name": "fc",',
    ]
    assert all(len(line) <= 120 for line in pretty(list(range(1000))).splitlines())


def test_an_expectation_is_found_by_its_target() -> None:
    case = a_case()
    assert case.expectation(TARGETS[1]) is case.expected[0]
    assert case.expectation(TARGETS[4]) is case.expected[1]
    assert case.expectation(TARGETS[5]) is None


WEIGHT = ("layers", 1, "weight")


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (("name",), 3, "name: expected a text, got 3"),
        (("cause",), "two\nlines", "cause: expected one line of text"),
        (("upstream",), "ours", "upstream: expected a list"),
        (("input_shape",), [2.0], "input_shape[0]: expected an integer, got 2.0"),
        (("layers",), {}, "layers: expected a list, got {}"),
        (("layers", 0), None, "layers[0]: expected an object of kind Quantize, Linear"),
        (("layers", 0, "kind"), "Conv3d", "layers[0]: expected an object of kind Quantize, Linear"),
        (("layers", 0, "output", "scale"), 0.5, "layers[0].output.scale: expected a hexadecimal real"),
        (("layers", 0, "output", "scale"), "half", "layers[0].output.scale: expected a hexadecimal real"),
        (("layers", 0, "output", "zero"), 1, "layers[0].output: unknown key 'zero'"),
        (("layers", 1, "name"), "q", "layers: 2 layers are named 'q'"),
        (("layers", 1, "relu"), 1, "layers[1].relu: expected true or false, got 1"),
        (("layers", 1, "bias"), [], "layers[1].bias: expected an array with at least one element"),
        (("layers", 1, "bias"), ["0x1p+0", "0x1p+0"], "layers[1].bias: expected an array of shape (1,), got (2,)"),
        (("layers", 1, "bias"), ["0x1.0000000000001p+0"], "layers[1].bias[0]: "),
        ((*WEIGHT, "values"), [[128, 0]], "layers[1].weight.values[0][0]: 128 is no int8"),
        ((*WEIGHT, "values"), [[1], [2, 3]], "layers[1].weight.values[1]: expected an array of shape (1,)"),
        ((*WEIGHT, "values"), [["1", 2]], "layers[1].weight.values[0][0]: expected an integer"),
        ((*WEIGHT, "values"), [1, 2], "layers[1].weight.values: expected 2 axes, got 1"),
        ((*WEIGHT, "scales"), "0x1p+0", "layers[1].weight.scales: expected an array"),
        ((*WEIGHT, "zero_points"), [0, 0], "layers[1].weight.zero_points: expected an array of shape (1,), got (2,)"),
        (("sources",), [[0]], "sources: expected one entry for each of 2 layers"),
        (("sources",), [[0], [2]], "sources: layer fc: reads values (2,)"),
        (("inputs",), {}, "inputs: expected one of the keys bytes, signed_bytes, float32"),
        (("inputs", "bytes"), [[1, 256]], "inputs.bytes[0][1]: 256 is no uint8"),
        (("inputs", "bytes"), [[1, 2, 3]], "inputs.bytes: expected inputs of shape (2,), got (3,)"),
        (("expected",), [], "expected: expected a list with at least one entry"),
        (("expected", 0, "targets"), ["arm/neon"], "expected[0].targets: unknown target 'arm/neon'"),
        (("expected", 0, "targets"), [], "expected[0]: expected targets with either bytes or refused"),
        (("expected", 0, "refused"), "why", "expected[0]: expected targets with either bytes or refused"),
        (("expected", 0, "observed"), [[1]], "expected[0]: expected targets with either bytes or refused"),
        (("expected", 0, "bytes"), [[1], [2]], "expected[0].bytes: expected the bytes of 1 inputs"),
        (("expected", 0, "bytes"), [[256]], "expected[0].bytes: expected bytes, got numbers from 256 to 256"),
        (("expected", 1, "targets"), [str(TARGETS[0])], "expected: fbgemm/avx512_vnni occurs 2 times"),
        (("expected", 1, "refused"), "", "expected[1].refused: expected one line"),
    ],
)
def test_a_malformed_file_is_named_with_its_key(tmp_path: Path, at: tuple[Any, ...], value: Any, message: str) -> None:
    document = json.loads(pretty(json_of(a_case())))
    *outer, last = at
    place = document
    for key in outer:
        place = place[key]
    place[last] = value
    path = tmp_path / "case.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_case(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", list(json_of(a_case())))
def test_a_missing_key_is_named(key: str) -> None:
    document = json_of(a_case())
    assert isinstance(document, dict)
    del document[key]
    with pytest.raises(InputError, match=f"^here: key '{key}' is missing$"):
        case_of(document, "here")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 10**6])
def test_what_is_not_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "case.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"case\.json: is not JSON: .*$"):
        read_case(path)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.json: cannot be read: No such file"):
        read_case(tmp_path / "absent.json")
