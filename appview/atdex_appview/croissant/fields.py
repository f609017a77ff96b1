"""The fields of a schema as those of a Croissant record set.

What Croissant has no word for is said in a field's description, and a field whose type cannot be
told at all is left out and named; nothing is given a type that it does not have. Arrays of numbers
keep their dtype and shape. Bytes, and arrays whose dtype the schema does not state, are arrays of
`cr:UInt8`: the bytes as they lie in the sample.

Everything here was written by strangers: ids are made of escaped names, and the number of fields
and their text are bounded, however often a schema nests another.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from atdex_lexicons.dtypes import read_dtype
from atdex_lexicons.model import (
    AnyType,
    Field,
    FieldType,
    ListOf,
    MapOf,
    NDArray,
    Nested,
    Primitive,
    PrimitiveName,
    Record,
    Schema,
)

MAX_FIELDS = 2_000
"""Fields of one document, nested ones included. Real samples have a few dozen; two schemas that
nest each other in every field would have millions."""

MAX_FIELD_CHARACTERS = 500_000
"""Of all names, descriptions and shapes in one document: half of the largest record, since a
nested schema is written out as often as it is named."""

MAX_LEVELS = 8
"""Of fields in fields: as many as references are followed."""

MAX_NAMED = 20
"""Fields that a description names as left out."""

BYTES = "cr:UInt8"
TEXT = "sc:Text"

_PRIMITIVES: Mapping[PrimitiveName, str] = {
    "str": TEXT,
    "int": "sc:Integer",
    "float": "sc:Float",
    "bool": "sc:Boolean",
}
_NUMBERS: Mapping[tuple[str, int], str] = {
    **{("i", size): f"cr:Int{8 * size}" for size in (1, 2, 4, 8)},
    **{("u", size): f"cr:UInt{8 * size}" for size in (1, 2, 4, 8)},
    **{("f", size): f"cr:Float{8 * size}" for size in (2, 4, 8)},
}
_KINDS = {"b": "sc:Boolean", "U": TEXT, "S": TEXT, "M": "sc:DateTime"}
"""Kinds of dtype whose size does not matter."""

Json = dict[str, Any]


def record_fields(
    schema: Schema, nested: Mapping[str, Schema], *, parent: str, file_set: str
) -> tuple[list[Json], list[str]]:
    """The `cr:Field`s of the samples of `schema`, and the names of the fields that are left out.

    `nested` has the schemas that it refers to, by URI. `parent` is the id of the record set and
    `file_set` that of the files with its samples.
    """
    writer = _Writer(nested, file_set)
    made = writer.fields(schema.fields, parent, _Place())
    return made, writer.left_out


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a field is: the field of the sample that holds it, and the way from there."""

    column: str | None = None
    path: str = ""
    schemas: tuple[str, ...] = ()
    level: int = 0

    def at(self, name: str) -> _Place:
        if self.column is None:
            return _Place(name, "", self.schemas, self.level + 1)
        return _Place(self.column, f"{self.path}[{json.dumps(name)}]", self.schemas, self.level + 1)

    def inside(self, step: str, schema: str | None = None) -> _Place:
        schemas = self.schemas if schema is None else (*self.schemas, schema)
        return _Place(self.column, self.path + step, schemas, self.level + 1)


@dataclass(slots=True)
class _Value:
    """A type in Croissant's words: `data_type`, or the `subfields` of which it consists.

    `is_array` with no `shape`: it is not known. `notes` go into the description.
    """

    data_type: str | None = None
    subfields: list[Json] | None = None
    is_array: bool = False
    shape: tuple[int, ...] | None = None
    notes: list[str] = field(default_factory=list)

    def repeated(self) -> _Value:
        """A list of these."""
        if not self.is_array:
            self.shape = (-1,)
        elif self.shape is not None:
            self.shape = (-1, *self.shape)
        self.is_array = True
        return self


class _Writer:
    def __init__(self, nested: Mapping[str, Schema], file_set: str) -> None:
        self.left_out: list[str] = []
        self._nested = nested
        self._file_set = file_set
        self._fields = MAX_FIELDS
        self._characters = MAX_FIELD_CHARACTERS

    def fields(self, fields: Iterable[Field], parent: str, place: _Place) -> list[Json]:
        made: list[Json] = []
        ids: set[str] = set()
        for each in fields:
            written = self._field(each, _fresh_id(parent, each.name, ids), place.at(each.name))
            if written is None:
                self.left_out.append(each.name)
            else:
                made.append(written)
        return made

    def _field(self, each: Field, uid: str, place: _Place) -> Json | None:
        # There is no column without a name.
        if not each.name or not self._afford(2 * len(each.name) + len(each.description)):
            return None
        value = None if place.level > MAX_LEVELS else self._value(each.type, uid, place)
        if value is None:
            return None
        notes = [each.description.strip(), *value.notes]
        if each.optional:
            notes.append("May be missing.")
        made: Json = {"@type": "cr:Field", "@id": uid, "name": each.name}
        if text := " ".join(note for note in notes if note):
            made["description"] = text
        if value.is_array:
            made["isArray"] = True
            if value.shape is not None:
                made["arrayShape"] = ",".join(map(str, value.shape))
        if value.subfields is not None:
            made["subField"] = value.subfields
        else:
            made["dataType"] = value.data_type
            made["source"] = self._source(place)
        return made

    def _afford(self, characters: int) -> bool:
        if self._fields == 0 or characters > self._characters:
            return False
        self._fields -= 1
        self._characters -= characters
        return True

    def _source(self, place: _Place) -> Json:
        source: Json = {
            "fileSet": {"@id": self._file_set},
            "extract": {"column": place.column},
        }
        if place.path:
            source["transform"] = {"jsonPath": f"${place.path}"}
        return source

    def _value(self, kind: FieldType, uid: str, place: _Place) -> _Value | None:
        match kind:
            case Primitive(name="bytes"):
                return _Value(BYTES, is_array=True, shape=(-1,), notes=["Bytes."])
            case Primitive(name=name):
                return _Value(_PRIMITIVES[name])
            case NDArray():
                return self._array(kind)
            case ListOf(items=items):
                value = self._value(items, uid, place.inside("[*]"))
                return None if value is None else value.repeated()
            case MapOf(values=values):
                return self._map(values, uid, place)
            case Record(fields=fields):
                return self._record(fields, uid, place)
            case Nested(schema_uri=uri):
                schema = self._nested.get(uri)
                if schema is None or uri in place.schemas:
                    return None
                return self._record(schema.fields, uid, place.inside("", uri))
            case AnyType():
                return None

    def _record(self, fields: Sequence[Field], uid: str, place: _Place) -> _Value | None:
        made = self.fields(fields, uid, place)
        return _Value(subfields=made) if made else None

    def _map(self, values: FieldType, uid: str, place: _Place) -> _Value | None:
        """A list of pairs. JSONPath has no word for the keys of a map: theirs leads to the map."""
        key = self._field(Field("key", Primitive("str")), f"{uid}/key", place)
        value = self._field(Field("value", values), f"{uid}/value", place.inside("[*]"))
        if key is None or value is None:
            return None
        return _Value(subfields=[key, value]).repeated()

    def _array(self, array: NDArray) -> _Value | None:
        notes = list(_array_notes(array))
        cost = sum(map(len, notes)) + 12 * len(array.shape or ())
        if cost > self._characters:
            return None
        self._characters -= cost
        data_type = None if array.dtype is None else _dtype(array.dtype)
        if data_type is None:
            stated = "" if array.shape is None else f" of shape {list(array.shape)}"
            word = "not stated" if array.dtype is None else array.dtype
            notes.insert(0, f"The bytes of an array{stated}; its dtype is {word}.")
            return _Value(BYTES, is_array=True, shape=(-1,), notes=notes)
        if array.shape is None:
            notes.insert(0, "An array; its shape is not stated.")
        elif not array.shape:
            return _Value(data_type, notes=notes)
        return _Value(data_type, is_array=True, shape=array.shape, notes=notes)


def _array_notes(array: NDArray) -> Iterator[str]:
    if array.dimension_names:
        yield f"Dimensions: {', '.join(array.dimension_names)}."
    yield f"Encoded as {array.format}."


def _dtype(text: str) -> str | None:
    found = read_dtype(text)
    if found is None:
        return None
    return _NUMBERS.get((found.kind, found.itemsize)) or _KINDS.get(found.kind)


def _fresh_id(parent: str, name: str, taken: set[str]) -> str:
    """An id of letters that mean nothing in an IRI: dots are escaped too, as `..` would climb."""
    slug = quote(name, safe="").replace(".", "%2E").replace("~", "%7E")
    made, number = slug, 2
    while made in taken:
        made, number = f"{slug}~{number}", number + 1
    taken.add(made)
    return f"{parent}/{made}"


def left_out_note(names: Sequence[str]) -> str:
    """What is said of the fields that are left out; nothing where there are none."""
    if not names:
        return ""
    shown = ", ".join(name[:50] or '""' for name in names[:MAX_NAMED])
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"Left out, as their types cannot be told here: {shown}{more}."
