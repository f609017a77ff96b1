"""Values for what a lexicon document declares: valid, nearly valid, hostile.

`World` has what the node under test knows, so that valid values lead somewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hypothesis import strategies as st

Mood = Literal["valid", "near", "hostile"]

HOSTILE: tuple[bytes, ...] = (
    b"",
    b"\0",
    b"a\0b",
    b"\xff\xfe",
    b"\xed\xa0\x80",  # a lone surrogate
    b"\xf4\x90\x80\x80",  # beyond Unicode
    b"\r\nSet-Cookie: a=b",
    b"' OR 1=1 --",
    b'"; DROP TABLE dataset; --',
    b"%",
    b"_",
    b"%_%",
    b"../../../../etc/passwd",
    b"file:///etc/passwd",
    b"http://169.254.169.254/",
    b"{{7*7}}${7*7}",
    b"<script>alert(1)</script>",
    b"[" * 2_000,
    b'"' * 999,
    b"*",
    b"a*" * 40,
    b"NOT AND OR",
    b"name:x^9 ~",
    b"null",
    b"undefined",
    b"NaN",
    b"-0",
    b"+1",
    b" 1",
    b"1.0",
    b"1e3",
    b"0x10",
    b"9" * 40,
    b"-9223372036854775809",
    b"9223372036854775807",
    "١٢".encode(),
    "\u202e\u0000".encode(),
    "é".encode() * 3_000,
    "\U0001f9ff".encode() * 200,
    "\ufeffcats".encode(),
    "ﬀ İ ß Ω".encode(),
    b"at://",
    b"at://did:plc:x/a.b.c/..",
    b"at://did:web:localhost%3A80/a.b.c/x",
    b"did:" + b"x" * 3_000,
    b"x" * 20_000,
)

_SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "at-uri": ("/", "/x", "#a", "?b", " ", "/../..", "@1.0.0"),
    "datetime": ("Z", "z", "+99:99", " ", ".1"),
}


@dataclass(frozen=True, slots=True)
class World:
    """By kind, the URIs of records that are served; the rest as their names say.

    `hints` has good values by the name of a parameter. What has none is made from its document.
    """

    uris: Mapping[str, tuple[str, ...]]
    hidden: tuple[str, ...] = ()
    dids: tuple[str, ...] = ()
    handles: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    cids: tuple[str, ...] = ()
    records: tuple[Mapping[str, Any], ...] = ()
    cursors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def uris_for(self, nsid: str, name: str) -> st.SearchStrategy[str]:
        """Of the kind that a parameter of that name wants, mostly."""
        lower = (nsid.rsplit(".", 1)[1] if name == "uri" else name).lower()
        wants_schema = any(
            word in lower for word in ("schema", "source", "target", "left", "right", "viewable")
        )
        kind = "schema" if wants_schema else "lens" if "lens" in lower else "dataset"
        every = [uri for uris in self.uris.values() for uri in uris]
        return st.one_of(
            st.sampled_from(self.uris[kind]),
            st.sampled_from(self.uris[kind]),
            st.sampled_from([*every, *self.hidden, f"at://{self.handles[0]}/a.b.c/x"]),
        )


def strings(
    world: World, nsid: str, name: str, schema: Mapping[str, Any]
) -> st.SearchStrategy[str]:
    """Texts that the document accepts."""
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    if "knownValues" in schema:
        return st.sampled_from(schema["knownValues"])
    if name in world.hints:
        return st.sampled_from(world.hints[name])
    if name == "cursor":
        return st.sampled_from(world.cursors.get(nsid) or ("WzFd",))
    match schema.get("format"):
        case "at-uri":
            return world.uris_for(nsid, name)
        case "at-identifier":
            return st.sampled_from((*world.dids, *world.handles, "unknown.example"))
        case "did":
            return st.sampled_from(world.dids)
        case "handle":
            return st.sampled_from(world.handles)
        case "nsid":
            return st.sampled_from(
                [uri.split("/")[3] for uris in world.uris.values() for uri in uris]
            )
        case "cid":
            return st.sampled_from(world.cids)
        case "datetime":
            return st.datetimes().map(lambda at: at.isoformat() + "Z")
        case "record-key" | "tid":
            return st.sampled_from([uri.rsplit("/", 1)[1] for uri in world.uris["dataset"]])
        case "uri":
            return st.sampled_from(["https://example.com/x", world.uris["dataset"][0]])
    most = min(schema.get("maxLength", 60) // 4, schema.get("maxGraphemes", 60), 60)
    least = min(schema.get("minLength", 0), most)
    texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=least, max_size=most)
    known = [word for word in world.words if len(word.encode()) <= schema.get("maxLength", 1000)]
    return st.one_of(st.sampled_from(known), st.sampled_from(known), texts)


def integers(schema: Mapping[str, Any]) -> st.SearchStrategy[int]:
    return st.integers(schema.get("minimum", -(2**63)), schema.get("maximum", 2**63 - 1))


def text_values(
    world: World, nsid: str, name: str, schema: Mapping[str, Any], mood: Mood
) -> st.SearchStrategy[bytes]:
    """One value of a query string, before it is escaped."""
    if mood == "hostile":
        return st.one_of(st.sampled_from(HOSTILE), st.binary(max_size=40))
    kind = schema["type"]
    if kind == "boolean":
        good: st.SearchStrategy[str] = st.sampled_from(["true", "false"])
        near = st.sampled_from(["True", "1", "yes", "TRUE ", ""])
    elif kind == "integer":
        good = integers(schema).map(str)
        low, high = schema.get("minimum", -(2**63)), schema.get("maximum", 2**63 - 1)
        near = st.sampled_from([str(low - 1), str(high + 1), f"{low}.0", f" {low}", "", "00"])
    else:
        good = strings(world, nsid, name, schema)
        near = st.one_of(_nearly(good, schema), st.just("x" * (schema.get("maxLength", 1000) + 1)))
    return (good if mood == "valid" else near).map(_utf8)


def _nearly(good: st.SearchStrategy[str], schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    ends = _SUFFIXES.get(schema.get("format", ""), ("x", " ", "\u00a0", "/"))
    return st.one_of(
        st.tuples(good, st.sampled_from(ends)).map("".join),
        good.map(str.swapcase),
        good.map(lambda text: text[: len(text) // 2]),
        good.map(lambda text: text[::-1]),
        st.just(""),
    )


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


JSON_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
)
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    JSON_SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["$type", "$link", "$bytes", "a", "uri", ""]), inner),
    ),
    max_leaves=12,
)


def json_values(
    world: World, nsid: str, name: str, schema: Mapping[str, Any], mood: Mood
) -> st.SearchStrategy[Any]:
    """A value in a JSON body."""
    if mood == "hostile":
        return JSON_VALUES
    match schema["type"]:
        case "object":
            return st.fixed_dictionaries(
                {
                    key: json_values(world, nsid, key, part, mood)
                    for key, part in schema["properties"].items()
                    if key in schema.get("required", ())
                },
                optional={
                    key: json_values(world, nsid, key, part, mood)
                    for key, part in schema["properties"].items()
                    if key not in schema.get("required", ())
                },
            )
        case "unknown":
            return broken_records(world) if mood == "near" else st.sampled_from(world.records)
        case "integer":
            return integers(schema)
        case "boolean":
            return st.booleans()
        case "string":
            return text_values(world, nsid, name, schema, mood).map(
                lambda raw: raw.decode(errors="replace")
            )
        case "array":
            item = json_values(world, nsid, name, schema["items"], mood)
            return st.lists(item, max_size=min(schema.get("maxLength", 5), 5))
        case _:
            return JSON_VALUES


@st.composite
def broken_records(draw: st.DrawFn, world: World) -> Any:
    """A record with one part replaced, taken away or doubled."""
    record: dict[str, Any] = dict(draw(st.sampled_from(world.records)))
    if not record:
        return record
    key = draw(st.sampled_from(sorted(record)))
    match draw(st.sampled_from(["drop", "replace", "nest", "rename"])):
        case "drop":
            del record[key]
        case "replace":
            record[key] = draw(JSON_VALUES)
        case "nest":
            record[key] = {"$type": record.get("$type"), key: record[key]}
        case _:
            record[key + "\u0000"] = record.pop(key)
    return record
