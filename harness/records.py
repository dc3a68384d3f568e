"""Frozen dataclasses as JSON values and back, exactly: the fields and their types say everything.

Reals are hexadecimal (`float.hex`), integers plain, arrays nested lists in row-major order.  A field that has its
default is left out.  A record of a union of records names its class as `kind`.
"""

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from bvverify.errors import InputError

Json: TypeAlias = "str | int | bool | list[Json] | dict[str, Json] | None"
_WIDTH = 120


def to_json(value: Any) -> Json:
    """Return a record, array, enumeration, number, text, tuple or None as a JSON value."""
    match value:
        case None | bool() | int():
            return value
        case StrEnum():
            return value.value
        case str():
            return value
        case float():
            return _hexadecimal(value)
        case np.ndarray():
            if not value.size:
                raise InputError(f"an array of shape {value.shape} has no elements and cannot be written")
            numbers = value.astype(np.float64) if value.dtype.kind == "f" else value
            return to_json(numbers.tolist())
        case tuple() | list():
            return [to_json(item) for item in value]
    written = {
        field.name: to_json(getattr(value, field.name)) for field in fields(value) if not _is_default(value, field)
    }
    return written


def kinded(value: Any) -> Json:
    """Return a record as a JSON object that names its class first."""
    record = to_json(value)
    assert isinstance(record, dict)
    return {"kind": type(value).__name__, **record}


def from_json(type_: Any, value: Json, where: str) -> Any:
    """Return the object of type `type_` that `value` stands for.

    Raises `InputError`, one line that begins with `where` and the key below it, if `value` is not such an object.
    """
    origin, arguments = get_origin(type_), get_args(type_)
    if origin is np.ndarray:
        return _array(np.dtype(get_args(arguments[1])[0]), value, where)
    if origin in (Union, types.UnionType):
        return _of_union(arguments, value, where)
    if origin is tuple:
        return _tuple(arguments, value, where)
    if is_dataclass(type_):
        return _record(type_, value, where)
    if type_ is float:
        return _real(value, where)
    if issubclass(type_, StrEnum):
        known = [member.value for member in type_]
        if value not in known:
            raise InputError(f"{where}: expected one of {', '.join(known)}, got {_short(value)}")
        return type_(value)
    if type(value) is not type_:
        raise InputError(f"{where}: expected {_NAMES[type_]}, got {_short(value)}")
    return value


def checked_object(value: Json, where: str, *, required: set[str], optional: set[str]) -> dict[str, Json]:
    """Return `value` if it is an object with all of the `required` keys and none beyond the `optional` ones."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, got {_short(value)}")
    for key in sorted(required - value.keys()):
        raise InputError(f"{where}: key '{key}' is missing")
    for key in sorted(value.keys() - required - optional):
        known = ", ".join(sorted(required | optional))
        raise InputError(f"{where}: unknown key '{key}'; known: {known}")
    return value


def pretty(value: Json) -> str:
    """Return the text of a JSON value: what fits a line of 120 columns stays on one, keys keep their order."""
    return _lines(value, 0, 0) + "\n"


_NAMES = {int: "an integer", bool: "true or false", str: "a text", types.NoneType: "null"}


@cache
def _hints(type_: type) -> Mapping[str, Any]:
    return get_type_hints(type_)


def _is_default(value: Any, field: Any) -> bool:
    if field.default is MISSING:
        return False
    own = getattr(value, field.name)
    return type(own) is type(field.default) and own == field.default


def _record(type_: Any, value: Json, where: str) -> Any:
    optional = {field.name for field in fields(type_) if field.default is not MISSING}
    required = {field.name for field in fields(type_)} - optional
    given = checked_object(value, where, required=required, optional=optional)
    hints = _hints(type_)
    return type_(**{key: from_json(hints[key], item, f"{where}.{key}") for key, item in given.items()})


def _of_union(members: tuple[Any, ...], value: Json, where: str) -> Any:
    if value is None and types.NoneType in members:
        return None
    others = [member for member in members if member is not types.NoneType]
    if len(others) == 1:
        return from_json(others[0], value, where)
    by_name = {member.__name__: member for member in others}
    if not isinstance(value, dict) or not isinstance(kind := value.get("kind"), str) or kind not in by_name:
        given = value.get("kind") if isinstance(value, dict) else value
        raise InputError(f"{where}: expected an object of kind {', '.join(by_name)}, got {_short(given)}")
    return from_json(by_name[kind], {key: item for key, item in value.items() if key != "kind"}, where)


def _tuple(arguments: tuple[Any, ...], value: Json, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise InputError(f"{where}: expected a list, got {_short(value)}")
    if arguments[-1] is Ellipsis:
        types_ = arguments[:1] * len(value)
    elif len(arguments) != len(value):
        raise InputError(f"{where}: expected {len(arguments)} entries, got {len(value)}")
    else:
        types_ = arguments
    pairs = zip(types_, value, strict=True)
    return tuple(from_json(type_, item, f"{where}[{index}]") for index, (type_, item) in enumerate(pairs))


def _hexadecimal(value: float) -> str:
    """Return `value.hex()` without the zeros at the end of its digits."""
    digits, exponent, power = value.hex().partition("p")
    return digits.rstrip("0").rstrip(".") + exponent + power if "." in digits else value.hex()


def _real(value: Json, where: str) -> float:
    if isinstance(value, str):
        try:
            return float.fromhex(value)
        except (ValueError, OverflowError):
            pass
    raise InputError(f"{where}: expected a hexadecimal real such as '0x1.8p+0', got {_short(value)}")


def _array(dtype: np.dtype[Any], value: Json, where: str) -> npt.NDArray[Any]:
    if not isinstance(value, list):
        raise InputError(f"{where}: expected an array, got {_short(value)}")
    shape = _shape(value, where)
    if dtype.kind == "f":
        numbers = np.array([_real(item, f"{where}{at}") for at, item in _items(value, "")], dtype=np.float64)
        with np.errstate(over="ignore"):
            array = numbers.astype(dtype)
        wrong = np.flatnonzero((array.astype(np.float64) != numbers) & ~np.isnan(numbers))
    else:
        info = np.iinfo(dtype)
        entries = [from_json(int, item, f"{where}{at}") for at, item in _items(value, "")]
        wrong = np.array([i for i, entry in enumerate(entries) if not info.min <= entry <= info.max], dtype=np.int64)
        array = np.array([0] if len(wrong) else entries, dtype=dtype)
    if len(wrong):
        at, item = list(_items(value, ""))[int(wrong[0])]
        raise InputError(f"{where}{at}: {_short(item)} is no {dtype.name}")
    return array.reshape(shape)


def _shape(value: Json, where: str) -> tuple[int, ...]:
    if not isinstance(value, list):
        return ()
    if not value:
        raise InputError(f"{where}: expected an array with at least one element, got []")
    shapes = [_shape(item, f"{where}[{index}]") for index, item in enumerate(value)]
    for index, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise InputError(
                f"{where}[{index}]: expected an array of shape {shapes[0]} like its neighbours, got {shape}"
            )
    return (len(value), *shapes[0])


def _items(value: Json, at: str) -> list[tuple[str, Json]]:
    if not isinstance(value, list):
        return [(at, value)]
    return [found for index, item in enumerate(value) for found in _items(item, f"{at}[{index}]")]


def _short(value: Json) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _lines(value: Json, indent: int, column: int) -> str:
    """Return the text of `value` that begins at `column` of a line indented by `indent`."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, list | dict) or column + len(line) + 1 <= _WIDTH:
        return line
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        heads = [f"{inner}{json.dumps(key)}: " for key in value]
        items = [head + _lines(item, indent + 2, len(head)) for head, item in zip(heads, value.values(), strict=True)]
        return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
    if any(isinstance(item, list | dict) for item in value):
        items = [inner + _lines(item, indent + 2, indent + 2) for item in value]
        return "[\n" + ",\n".join(items) + "\n" + " " * indent + "]"
    return "[\n" + _filled([json.dumps(item) for item in value], inner) + "\n" + " " * indent + "]"


def _filled(words: list[str], indent: str) -> str:
    """Return words, separated by commas, on as few lines as hold them."""
    lines, line = [], indent + words[0]
    for word in words[1:]:
        if len(line) + len(word) + 3 > _WIDTH:
            lines.append(line + ",")
            line = indent + word
        else:
            line += ", " + word
    return "\n".join([*lines, line])
