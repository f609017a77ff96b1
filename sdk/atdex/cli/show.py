"""`atdex show`: one record, whatever its kind."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from atdex.cli.options import AsJson, NodeUrl
from atdex.cli.output import TIMES, clean, console, print_json, rows
from atdex.errors import BadSource, NoNode, NotThere, Unsupported
from atdex.node import Checked, Node
from atdex.resolve import ByName, ByUri, find_dataset, parse_source
from atdex_lexicons import AtUri
from atdex_lexicons.families import kind_of
from atdex_lexicons.model import (
    AnyType,
    BlobShard,
    Code,
    CodeReference,
    Dataset,
    FieldOps,
    FieldType,
    HttpShard,
    Label,
    Lens,
    ListOf,
    MapOf,
    NDArray,
    Nested,
    Primitive,
    PythonCode,
    Record,
    Schema,
    Shard,
)
from atdex_xrpc.errors import MethodNotImplemented, NotFound

MAX_SHARDS_SHOWN = 5


def show(source: str, /, *, node: NodeUrl = None, as_json: AsJson = False) -> int:
    """Show one record as the node serves it, checked against its CID and its lexicon.

    Parameters
    ----------
    source
        The AT-URI of a dataset, schema, lens or label; or @publisher/name.
    """
    place = parse_source(source)
    if not isinstance(place, (ByUri, ByName)):
        raise BadSource(source, "show takes an AT-URI or @publisher/name")
    if node is None:
        raise NoNode
    with Node(node) as asked:
        if isinstance(place, ByName):
            found = find_dataset(place, asked)
        else:
            found = _by_uri(place.uri, asked)
    if as_json:
        print_json(dict(found.view))
    else:
        out = console()
        out.print(Text(clean(getattr(found.model, "name", ""), 200), style="bold"))
        out.print(rows(_lines(found)))
    return 0


def _by_uri(uri: str, node: Node) -> Checked:
    at = AtUri.parse(uri)
    kind = kind_of(at.collection or "")
    try:
        match kind:
            case "dataset":
                return node.dataset(uri)
            case "schema":
                return node.schema(uri)
            case "lens":
                return node.lens(uri)
            case "label":
                return _label(uri, at, node)
            case "verification":
                raise Unsupported("showing a verification", "show the lens that it is about")
            case None:
                raise BadSource(uri, f"{at.collection} is no collection of datasets or schemas")
    except NotFound as error:
        raise NotThere(uri, node.url) from error


def _label(uri: str, at: AtUri, node: Node) -> Checked:
    try:
        for label in node.labels(at.authority):
            if AtUri.parse(label.uri)[1:] == at[1:]:
                return label
    except MethodNotImplemented:
        # Such a node still tells the labels of a dataset, and resolves one by its name.
        for dataset in node.datasets(at.authority):
            for named in dataset.view["labels"]:
                if AtUri.parse(named["uri"])[1:] == at[1:]:
                    return node.label(at.authority, named["name"], named.get("version"))[0]
    raise NotThere(uri, node.url)


def _lines(found: Checked) -> list[tuple[str, object]]:
    view = found.view
    lines: list[tuple[str, object]] = [
        ("uri", found.uri),
        ("cid", found.cid),
        ("publisher", f"{found.handle} ({found.publisher})" if found.handle else found.publisher),
    ]
    match found.model:
        case Dataset():
            lines += _dataset(found.model, view)
        case Schema():
            lines += _schema(found.model)
        case Lens():
            lines += _lens(found.model, view)
        case Label() as label:
            lines += [
                ("version", label.version),
                ("dataset", label.dataset_uri),
                ("description", label.description),
            ]
    if not view.get("verified", True):
        lines.append(("signature", "none was verified: taken from a Jetstream at its word"))
    return [*lines, ("form", view["conformance"]), ("first seen", view["firstSeen"])]


def _dataset(dataset: Dataset, view: Any) -> list[tuple[str, object]]:
    schema = view.get("schema")
    named = [f"{label['name']}@{label.get('version', '')}".rstrip("@") for label in view["labels"]]
    shards = [_shard(shard) for shard in dataset.shards[:MAX_SHARDS_SHOWN]]
    if len(dataset.shards) > MAX_SHARDS_SHOWN:
        shards.append(f"… {len(dataset.shards)} in all")
    return [
        ("schema", dataset.schema_uri),
        ("", f"{schema['name']} {schema['version']}" if schema else ""),
        ("labels", ", ".join(named)),
        ("license", dataset.license),
        ("tags", ", ".join(dataset.tags)),
        ("samples", dataset.sample_count),
        ("bytes", dataset.byte_count),
        ("splits", ", ".join(f"{s.name} {s.start}..{s.stop}" for s in dataset.splits)),
        *(("shards" if i == 0 else " ", shard) for i, shard in enumerate(shards)),
        ("description", dataset.description),
    ]


def _shard(shard: Shard) -> str:
    match shard:
        case HttpShard(url):
            place = clean(url)
        case BlobShard(cid):
            return f"blob {cid}"
        case _:
            place = clean(f"s3://{shard.bucket}/{shard.key}")
    checksum = shard.checksum
    return f"{place}  {checksum.algorithm if checksum else 'no checksum'}"


def _schema(schema: Schema) -> list[tuple[str, object]]:
    return [
        ("version", schema.version),
        ("license", schema.license),
        ("tags", ", ".join(schema.tags)),
        *(
            (f"  {clean(field.name, 60)}", f"{_type(field.type)}{' | None' * field.optional}")
            for field in schema.fields
        ),
        ("description", schema.description),
    ]


def _type(kind: FieldType) -> str:
    match kind:
        case Primitive(name):
            return name
        case NDArray(dtype, shape):
            sizes = TIMES.join("?" if n == -1 else str(n) for n in shape or ())
            described = " ".join(part for part in (dtype, sizes) if part)
            form = "" if kind.format == "ndarrayBytes" else f" as {kind.format}"
            return f"array{' ' + described if described else ''}{form}"
        case Nested(uri):
            return uri
        case ListOf(items):
            return f"list of {_type(items)}"
        case MapOf(values):
            return f"map of {_type(values)}"
        case Record(fields):
            return "{" + ", ".join(f"{f.name}: {_type(f.type)}" for f in fields) + "}"
        case AnyType():
            return "anything"


def _lens(lens: Lens, view: Any) -> list[tuple[str, object]]:
    verified = [f"{v['verifier']} ({v['method']})" for v in view["verifications"]]
    return [
        ("from", lens.source),
        ("to", lens.target),
        ("getter", _code(lens.getter)),
        ("putter", _code(lens.putter)),
        ("verified by", ", ".join(verified)),
        ("description", lens.description),
    ]


def _code(code: Code | None) -> str:
    match code:
        case CodeReference(repository, commit, path):
            return f"{path} in {repository} at {commit}"
        case PythonCode():
            return "Python in the record, which is never run"
        case FieldOps(ops):
            return f"{len(ops)} declared operations"
        case None:
            return "none"
