"""Values of the protocol's types as JSON has them, and back again, checked.

Types are bool, int, float, str, None, Any, ``list``, ``dict`` with keys of text, ``Optional``, ``Literal``, dataclasses
of these, and ``Union`` of dataclasses that a field ``kind``, a literal, tells apart.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


class ShapeError(ValueError):
    """A value is not of its type. Says where and which type, never the value: it may be a key."""


def encode(value: Any) -> Any:
    """A value of the protocol's types as ``json.dumps`` takes it."""
    if is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def decode(kind: Any, value: Any, where: str = "it") -> Any:  # noqa: PLR0911 - one for each kind of type
    """What ``json.loads`` gave, as a value of the type ``kind``. Raises ShapeError; ``where`` names the value."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is Union:
        return _one_of(inner, value, where)
    if origin is Literal:
        if not isinstance(value, str) or value not in inner:
            raise ShapeError(f"{where} is none of {', '.join(map(str, inner))}")
        return value
    if origin is list and isinstance(value, list):
        return [decode(inner[0], item, f"{where}[{place}]") for place, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {key: decode(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if is_dataclass(kind) and isinstance(value, dict):
        return _dataclass(kind, value, where)
    if kind is float and type(value) is int:
        return float(value)
    if origin is None and not is_dataclass(kind) and type(value) is kind:
        return value
    raise ShapeError(f"{where} is not of the type {getattr(kind, '__name__', kind)} but {type(value).__name__}")


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    some = [kind for kind in kinds if kind is not type(None)]
    if value is None and len(some) < len(kinds):
        return None
    if len(some) == 1:
        return decode(some[0], value, where)
    told = value.get("kind") if isinstance(value, dict) else None
    for kind in some:
        if told in get_args(hints(kind)["kind"]):
            return decode(kind, value, where)
    raise ShapeError(f"{where} is of no kind that is known")


def _dataclass(kind: Any, value: dict[str, Any], where: str) -> Any:
    types = hints(kind)
    if types.keys() != value.keys():
        names = ", ".join(sorted(types.keys() ^ value.keys()))
        raise ShapeError(f"{where} is no {kind.__name__}: missing or not known: {names}")
    return kind(**{name: decode(type_, value[name], f"{where}.{name}") for name, type_ in types.items()})


@cache
def hints(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, by name."""
    types = get_type_hints(kind)
    return {field.name: types[field.name] for field in fields(kind)}
