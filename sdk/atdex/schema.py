"""From a schema record to a sample type.

The text of a record never becomes code: a field whose name is no plain Python name gets one
(`class` becomes `class_`, `a b` becomes `a_b`, `__init__` becomes `field_init`), and the name in
the data is kept beside it.
"""

from __future__ import annotations

import dataclasses
import keyword
import re
import types
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np

from atdex.arrays import parse_dtype
from atdex.decode import ARRAY_SPEC, STORED_NAME
from atdex.errors import BadArray, BadSchema, RecordRefused, Unsupported
from atdex.sample import compare_and_show, packable
from atdex_lexicons.model import (
    AnyType,
    Field,
    FieldType,
    ListOf,
    MapOf,
    NDArray,
    Nested,
    Primitive,
    Record,
    Schema,
)

MAX_FIELDS: Final = 1024
"""Fields of one class. Wide tables exist; a class of more is an attack or a mistake."""

MAX_DEPTH: Final = 16
"""Schemas within schemas, and lists within lists."""

MAX_NAME: Final = 200
"""Characters of a Python name made from a field's name."""

MAX_CLASSES: Final = 256
"""Classes kept for the next load of the same schema."""

READABLE_FORMATS: Final = frozenset({"ndarrayBytes", "structuredBytes"})
"""Array encodings that become NumPy arrays. The others are refused by name, never left as bytes."""

_UNWRITABLE: Final = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')  # what the decoder cannot look for

_PRIMITIVES: Final[Mapping[str, type[Any]]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "bytes": bytes,
}


def class_of(schema: Schema, nested: Mapping[str, Schema] | None = None) -> type[Any]:
    """The sample type that `schema` describes; its fields are in the schema's order.

    `nested` has the schemas that fields refer to, by AT-URI. An optional field has the default
    None wherever it stands; fields are given by keyword. Raises BadSchema, or Unsupported for an
    array format that this version does not read.

    The same schema gives the same class, so that samples of two loads can be compared.
    """
    others = tuple(
        (uri, s.name, s.description, s.fields) for uri, s in sorted((nested or {}).items())
    )
    return _class_of(schema.name, schema.description, schema.fields, others)


_Described = tuple[str, str, tuple[Field, ...]]


@lru_cache(maxsize=MAX_CLASSES)
def _class_of(
    name: str,
    description: str,
    fields: tuple[Field, ...],
    nested: tuple[tuple[str, str, str, tuple[Field, ...]], ...],
) -> type[Any]:
    others = {uri: (title, text, inner) for uri, title, text, inner in nested}
    # What the outermost class holds is looked at with it: once, not once a level.
    return packable(_Builder(name, others).record(name, fields, description, 0))


def sample_class(
    schema_record: Mapping[str, Any] | Schema,
    nested: Mapping[str, Mapping[str, Any] | Schema] | None = None,
) -> type[Any]:
    """The sample type that a schema record of any family describes.

    The record is in JSON form or data-model form, with its `$type`; or it is the model of one.
    `nested` has the schema records that its fields refer to, by AT-URI. Raises BadSchema,
    Unsupported, and RecordRefused where the record breaks its lexicon.
    """
    others = {uri: _schema_of(record) for uri, record in (nested or {}).items()}
    return class_of(_schema_of(schema_record), others)


def _schema_of(record: Mapping[str, Any] | Schema) -> Schema:
    if isinstance(record, Schema):
        return record
    # Imported here: compiling the lexicons is of no use to those who have a model already.
    from atdex_lexicons import Catalog, LexiconsError
    from atdex_lexicons.families import check_record

    collection = record.get("$type")
    name = str(record.get("name", "without a name"))
    if not isinstance(collection, str):
        raise BadSchema(name, "$type", "the record does not say its collection")
    try:
        model = check_record(Catalog.bundled(), collection, None, record).model
    except LexiconsError as error:
        raise RecordRefused(name, str(error)) from error
    if not isinstance(model, Schema):
        raise BadSchema(name, "$type", f"{collection} is no collection of schemas")
    return model


class _Builder:
    def __init__(self, schema: str, nested: Mapping[str, _Described]) -> None:
        self.schema = schema
        self.nested = nested
        # Each once: a few schemas that name each other often would stand for millions of classes.
        self.made: dict[str, type[Any]] = {}

    def record(
        self, name: str, fields: tuple[Field, ...], description: str, depth: int
    ) -> type[Any]:
        if depth > MAX_DEPTH:
            raise BadSchema(self.schema, name, f"nested deeper than {MAX_DEPTH} levels")
        if len(fields) > MAX_FIELDS:
            raise BadSchema(self.schema, "", f"{len(fields)} fields, more than {MAX_FIELDS}")
        taken: set[str] = set()
        stored: set[str] = set()
        made: list[tuple[str, Any, Any]] = []
        for field in fields:
            if field.name in stored:
                raise BadSchema(self.schema, field.name, "the name occurs twice")
            if _UNWRITABLE.search(field.name):
                raise BadSchema(
                    self.schema,
                    field.name,
                    "a name with quotes, backslashes or control characters; "
                    "load with sample_type=dict to get the samples as they are stored",
                )
            stored.add(field.name)
            attribute = python_name(field.name, taken)
            taken.add(attribute)
            metadata: dict[str, Any] = {STORED_NAME: field.name, "description": field.description}
            hint = self.type(field.type, field.name, depth, metadata)
            if field.optional:
                made.append(
                    (attribute, hint | None, dataclasses.field(default=None, metadata=metadata))
                )
            else:
                made.append((attribute, hint, dataclasses.field(metadata=metadata)))
        title = python_name(name, set(), start="Sample")
        cls = dataclasses.make_dataclass(title, made, eq=False, repr=False, kw_only=True)
        cls.__module__ = __name__
        cls.__doc__ = description or None
        compare_and_show(cls)
        return cls

    def type(self, kind: FieldType, field: str, depth: int, metadata: dict[str, Any]) -> Any:
        """The annotation of a field; what an annotation cannot say goes into `metadata`."""
        if depth > MAX_DEPTH:
            raise BadSchema(self.schema, field, f"nested deeper than {MAX_DEPTH} levels")
        match kind:
            case Primitive(name):
                return _PRIMITIVES[name]
            case NDArray():
                return self.array(kind, field, metadata)
            case ListOf(items):
                return types.GenericAlias(list, (self.type(items, field, depth + 1, metadata),))
            case MapOf(values):
                value = self.type(values, field, depth + 1, metadata)
                return types.GenericAlias(dict, (str, value))
            case Record(fields):
                return self.record(field, fields, "", depth + 1)
            case Nested(uri):
                if uri not in self.made:
                    inner = self.nested.get(uri)
                    if inner is None:
                        raise BadSchema(self.schema, field, f"it needs the schema {uri}")
                    title, description, own = inner
                    self.made[uri] = self.record(title, own, description, depth + 1)
                return self.made[uri]
            case AnyType():
                return Any

    def array(self, array: NDArray, field: str, metadata: dict[str, Any]) -> Any:
        if array.format not in READABLE_FORMATS:
            raise Unsupported(
                f"the array format {array.format!r} of the field {field!r}",
                "load with sample_type=dict, or a class whose field is bytes, to get it as stored",
            )
        if array.shape is not None:
            metadata[ARRAY_SPEC] = array.shape
        if array.dtype is None:
            return np.ndarray
        try:
            dtype = _dtype(array.dtype)
        except BadArray as error:
            raise BadSchema(self.schema, field, error.reason) from None
        if dtype.names is not None:
            return np.ndarray
        return np.ndarray[Any, np.dtype[dtype.type]]  # type: ignore[name-defined]  # made at run time


def python_name(name: str, taken: set[str], *, start: str = "field") -> str:
    """A Python name for `name`: itself where it is one, and otherwise the nearest one not taken.

    Never private, never a keyword: it can be an argument, and shadows nothing of the class.
    """
    plain = unicodedata.normalize("NFKC", name)[:MAX_NAME]
    made = re.sub(r"\W", "_", plain)
    if made.startswith("_"):
        made = f"{start}_{made.strip('_')}".rstrip("_")
    if not made.isidentifier():
        made = f"{start}_{made}".rstrip("_")
    if not made.isidentifier():
        made = start
    if keyword.iskeyword(made):
        made += "_"
    unique, n = made, 2
    while unique in taken:
        unique, n = f"{made}_{n}", n + 1
    return unique


def _dtype(text: str) -> np.dtype[Any]:
    """A dtype as schemas spell it: `float32`, `<f4`. Raises BadArray."""
    scalar = np.sctypeDict.get(text)
    if scalar is not None and scalar not in (np.object_, np.void):
        return np.dtype(scalar)
    return parse_dtype(text)
