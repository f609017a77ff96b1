"""From the bytes of a sample to an instance of its class.

A class is compiled once: its fields become a msgspec structure whose arrays stay views of the
shard, and a list of the few values that need more than msgspec gives. Keys that the class does
not know are passed over, so that a publisher may add fields; a required one that is missing is an
error.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import re
import types
import typing
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, Union, get_args, get_origin

import msgspec
import numpy as np

from atdex.arrays import ArrayReader
from atdex.errors import BadArray, BadSample, BadSampleType

S = TypeVar("S")
Convert = Callable[[Any], Any]

ARRAY_SPEC: Final = "atdex_array"
"""Key of a dataclass field's metadata: a shape that arrays of the field must have."""

STORED_NAME: Final = "atdex_name"
"""Key of a dataclass field's metadata: the name in the sample, where it is no Python name."""

MAX_TYPE_DEPTH: Final = 32
"""Levels of types in types; beyond it a class most likely contains itself."""

_PLAIN: Final = (str, int, float, bool, bytes)
_PLACE: Final = re.compile(r" - at `(?:key in )?\$\.?(.*)`$", re.DOTALL)
_MISSING: Final = re.compile(r"^Object missing required field `(.*?)`(?: - at |$)", re.DOTALL)


class Misfit(Exception):
    """A value that does not fit: the path of the field, and why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason


class SampleDecoder(Generic[S]):
    """Decodes samples into `sample_type`: a dataclass, or `dict` for the map as it is stored.

    With `dict`, arrays stay bytes: only a schema tells the two apart. Raises BadSampleType for a
    class that has a field of a type that samples cannot have.
    """

    def __init__(self, sample_type: type[S]) -> None:
        self.sample_type = sample_type
        if sample_type is dict:
            self._decode: Callable[[Any], Any] = msgspec.msgpack.Decoder(dict[str, Any]).decode
            self._build: Convert | None = None
        else:
            wire, self._build = _compile_class(sample_type, 0, {})
            self._decode = msgspec.msgpack.Decoder(wire).decode

    def decode(self, raw: bytes | memoryview, shard: str, key: str) -> S:
        """One sample. `shard` and `key` name it in errors. Raises BadSample."""
        try:
            value = self._decode(raw)
            sample: S = value if self._build is None else self._build(value)
        except msgspec.DecodeError as error:
            field, reason = _explain(str(error))
            raise BadSample(shard, key, field, reason) from None
        except Misfit as misfit:
            raise BadSample(shard, key, misfit.field, misfit.reason) from None
        except RecursionError:
            raise BadSample(shard, key, "", "values nested too deeply") from None
        except UnicodeDecodeError as error:
            raise BadSample(shard, key, "", f"text that is no UTF-8: {error.reason}") from None
        return sample


def _explain(message: str) -> tuple[str, str]:
    if missing := _MISSING.match(message):
        place = _PLACE.search(message)
        inside = f"{place[1]}." if place and place[1] else ""
        return f"{inside}{missing[1]}", "the field is required and missing"
    if place := _PLACE.search(message):
        return place[1], message[: place.start()]
    return "", message


_Compiled = tuple[type[msgspec.Struct], Convert]
_Known = dict[type[Any], _Compiled]
"""The classes of one sample type that are compiled already."""


def _compile_class(cls: type[Any], depth: int, known: _Known) -> _Compiled:
    """The wire structure of a dataclass, and what makes an instance from it."""
    if not dataclasses.is_dataclass(cls):
        raise BadSampleType(
            getattr(cls, "__name__", repr(cls)), "", "a sample type is a class with @atdex.packable"
        )
    if cls not in known:
        known[cls] = _compile_new(cls, depth, known)
    return known[cls]


def _compile_new(cls: type[Any], depth: int, known: _Known) -> _Compiled:
    if depth > MAX_TYPE_DEPTH:
        raise BadSampleType(cls.__name__, "", f"types nested deeper than {MAX_TYPE_DEPTH} levels")
    try:
        hints = typing.get_type_hints(cls, include_extras=False)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise BadSampleType(cls.__name__, "", f"its annotations do not resolve: {error}") from None
    fields = [f for f in dataclasses.fields(cls) if f.init]
    wire_fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    rename: dict[str, str] = {}
    converts: list[tuple[int, Convert]] = []
    for i, field in enumerate(fields):
        wire, convert = _compile_type(hints[field.name], field, cls, depth, known)
        slot = f"f{i}"
        rename[slot] = field.metadata.get(STORED_NAME, field.name)
        default = _default(field)
        if _optional(hints[field.name]) and (default is None or field.default is None):
            wire_fields.append((slot, wire, None))
        elif default is not None:
            # The default may be mutable or of any class, so it is put in after decoding.
            unset = wire if wire is Any else wire | msgspec.UnsetType
            wire_fields.append((slot, unset, msgspec.UNSET))
            convert = _or_default(convert, default)
        else:
            wire_fields.append((slot, wire))
        if convert is not None:
            converts.append((i, convert))
    try:
        struct = msgspec.defstruct(
            cls.__name__, wire_fields, rename=rename, kw_only=True, gc=False, frozen=True
        )
    except (ValueError, TypeError) as error:
        raise BadSampleType(cls.__name__, "", str(error)) from None
    return struct, _builder(cls, fields, converts)


def _builder(
    cls: type[Any], fields: list[dataclasses.Field[Any]], converts: list[tuple[int, Convert]]
) -> Convert:
    names = [f.name for f in fields]
    if not names:
        return lambda _: cls()
    slots = [f"f{i}" for i in range(len(names))]
    get = operator.attrgetter(*slots)
    by_name = any(f.kw_only for f in fields)

    def build(wire: Any) -> Any:
        values = [get(wire)] if len(slots) == 1 else list(get(wire))
        for i, convert in converts:
            try:
                values[i] = convert(values[i])
            except BadArray as error:
                raise Misfit(names[i], error.reason) from None
            except Misfit as inner:
                raise Misfit(f"{names[i]}.{inner.field}", inner.reason) from None
        return cls(**dict(zip(names, values, strict=True))) if by_name else cls(*values)

    return build


def _compile_type(
    hint: Any, field: dataclasses.Field[Any], cls: type[Any], depth: int, known: _Known
) -> tuple[Any, Convert | None]:
    """The wire type of an annotation, and the conversion it needs, None for none."""
    if depth > MAX_TYPE_DEPTH:
        raise BadSampleType(cls.__name__, field.name, f"nested deeper than {MAX_TYPE_DEPTH} levels")
    if hint is Any or hint in _PLAIN or hint is types.NoneType:
        return hint, None
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is np.ndarray or origin is np.ndarray:
        dtype = _scalar_type(arguments, field, cls)
        return memoryview, ArrayReader(dtype, field.metadata.get(ARRAY_SPEC)).read
    if origin in (Union, types.UnionType):
        return _compile_union(arguments, field, cls, depth, known)
    if hint is list or origin is list:
        item, convert = _compile_type(
            arguments[0] if arguments else Any, field, cls, depth + 1, known
        )
        return types.GenericAlias(list, (item,)), _each(convert) if convert else None
    if hint is dict or origin is dict:
        of_key, of_value = arguments or (Any, Any)
        if of_key is not str and of_key is not Any and of_key is not int:
            raise BadSampleType(cls.__name__, field.name, "the keys of a map are str or int")
        value, convert = _compile_type(of_value, field, cls, depth + 1, known)
        return types.GenericAlias(dict, (of_key, value)), _each_value(convert) if convert else None
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _compile_class(hint, depth + 1, known)
    raise BadSampleType(
        cls.__name__,
        field.name,
        f"{hint!r} is no type of samples; use str, int, float, bool, bytes, np.ndarray, "
        "NDArray[...], list[...], dict[str, ...], a packable class, Any, or one of these | None",
    )


def _compile_union(
    arguments: tuple[Any, ...],
    field: dataclasses.Field[Any],
    cls: type[Any],
    depth: int,
    known: _Known,
) -> tuple[Any, Convert | None]:
    rest = [a for a in arguments if a is not types.NoneType]
    if len(rest) == 1:
        wire, convert = _compile_type(rest[0], field, cls, depth + 1, known)
        if len(arguments) == 1:
            return wire, convert
        return (wire if wire is Any else wire | None), _if_present(convert) if convert else None
    if all(a in _PLAIN for a in rest) and not {str, bytes} <= set(rest):
        return functools.reduce(operator.or_, arguments), None
    raise BadSampleType(cls.__name__, field.name, "a union of more than plain types and None")


def _scalar_type(
    arguments: tuple[Any, ...], field: dataclasses.Field[Any], cls: type[Any]
) -> type[np.generic] | None:
    """The NumPy scalar type in `NDArray[scalar]`; None where any will do."""
    dtype = arguments[1] if len(arguments) == 2 else Any
    inner = get_args(dtype)
    scalar = inner[0] if inner else Any
    if scalar is Any or isinstance(scalar, TypeVar):
        return None
    if isinstance(scalar, type) and issubclass(scalar, np.generic):
        return None if scalar is np.generic else scalar
    raise BadSampleType(cls.__name__, field.name, f"{scalar!r} is no NumPy scalar type")


def _optional(hint: Any) -> bool:
    return hint is types.NoneType or (
        get_origin(hint) in (Union, types.UnionType) and types.NoneType in get_args(hint)
    )


def _default(field: dataclasses.Field[Any]) -> Callable[[], Any] | None:
    """What makes the default of a field, None where it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory
    if field.default is not dataclasses.MISSING:
        default = field.default
        return lambda: default
    return None


def _or_default(convert: Convert | None, default: Callable[[], Any]) -> Convert:
    def apply(value: Any) -> Any:
        if value is msgspec.UNSET:
            return default()
        return value if convert is None else convert(value)

    return apply


def _if_present(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _each(convert: Convert) -> Convert:
    return lambda values: [convert(value) for value in values]


def _each_value(convert: Convert) -> Convert:
    return lambda values: {key: convert(value) for key, value in values.items()}
