"""The node that the request fuzzer asks: both families, all kinds, all dialects, things hidden."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atdex_appview.federation.peers import Peers
from atdex_appview.federation.repos import RepoReader
from atdex_appview.federation.search import Federation
from atdex_appview.feeds.bluesky import GENERATOR
from atdex_appview.feeds.file import FeedsFile
from atdex_appview.feeds.posts import PostChange, Posts
from atdex_appview.state import QuarantinedRecord
from atdex_lexicons.datamodel import from_json
from atdex_lexicons.errors import Problem
from atdex_lexicons.families import check_record, to_record
from tests.appview.fuzz_values import World
from tests.appview.index import (
    ALICE,
    BOB,
    CATALOG,
    CLASSIC,
    NAMESPACE,
    Index,
    Node,
    dataset,
    label,
    lens,
    schema,
    verification,
)
from tests.appview.records import rev
from tests.lexicons.test_examples import EXAMPLES
from tests.support.expected import ATDATA

CAROL = "did:web:carol.example"


@contextmanager
def populated(folder: Path) -> Iterator[tuple[Index, World]]:
    """A node's stores with records of both families, all dialects and all kinds in them."""
    with Index.open(folder) as index:
        uris: dict[str, list[str]] = {"label": [], "verification": []}
        schemas, datasets, lenses = [], [], []
        for n, family in enumerate((CLASSIC, NAMESPACE)):
            did = (ALICE, CAROL)[n]
            versions = ("1.0.0", "2.0.0", "10.0.0", "2.0.0-rc.1")
            made = index.publish(did, *(schema("Image", v) for v in versions), family=family)
            schemas += [put.uri for put in made]
            sets = [
                dataset(f"cats and dogs {i}", made[i % 4].uri, tags=("cat", f"t{i % 3}", "50%_off"))
                for i in range(30)
            ]
            puts = index.publish(did, *sets, family=family)
            datasets += [put.uri for put in puts]
            pairs_of = [(a.uri, b.uri) for a in made for b in made if a is not b]
            codes = index.publish(
                did, *(lens(f"l{i}", *p) for i, p in enumerate(pairs_of)), family=family
            )
            lenses += [put.uri for put in codes]
            marks = [label("stable", puts[i].uri, f"{i}.0.0") for i in range(5)]
            uris["label"] += [put.uri for put in index.publish(did, *marks, family=family)]
            views = [verification(put.uri, put.cid) for put in codes[:4]]
            uris["verification"] += [p.uri for p in index.publish(did, *views, family=family)]
        records = _examples()
        known = {"schema": schemas, "dataset": datasets, "lens": lenses, **uris}
        examples = [index.put(CAROL, record) for record in records]
        index.commit(CAROL, *examples)
        for put in examples:
            known[put.kind].append(put.uri)
        # One that its family can no longer read, an account that is hidden, one set aside.
        broken = index.put(ALICE, to_record(dataset("broken", schemas[0]), CLASSIC))
        index.commit(ALICE, broken._replace(json=b'{"$type":"science.alt.dataset.entry"}'))
        (hidden,) = index.publish(BOB, dataset("hidden cats", schemas[0]))
        index.set_status(BOB, active=False, status="takendown")
        aside = f"at://{ALICE}/{CLASSIC}.entry/3kaside000000"
        index.quarantine(_aside(aside))
        yield (
            index,
            World(
                uris={kind: tuple(found) for kind, found in known.items()},
                hidden=(hidden.uri, broken.uri, aside),
                dids=(ALICE, BOB, CAROL, "did:plc:nobody00000000000000000n"),
                handles=("alice.test", "bob.test"),
                words=(
                    "cats",
                    "cat",
                    "Image",
                    "stable",
                    "1.0.0",
                    "^2",
                    "all",
                    "t1",
                    "MIT",
                    "50%_off",
                ),
                cids=tuple(put.cid for put in examples[:5]),
                records=tuple(records),
                hints={
                    "name": ("Image", "Image", "stable", "stable", "nothing"),
                    "schemaId": ("Image", "Image", "nothing"),
                    "version": ("1.0.0", "10.0.0", "4.0.0", "^2", ">=1 <3", "3.3.3"),
                    "handle": (ALICE, CAROL, "alice.test", "nobody.example"),
                    "publisher": (ALICE, CAROL, "alice.test", "nobody.example"),
                },
            ),
        )


@contextmanager
def kept_posts(folder: Path, world: World) -> Iterator[Posts]:
    """Posts that name datasets, for the feeds that Bluesky asks for."""
    file = FeedsFile.open(folder / "feeds.sqlite")
    try:
        posts = Posts.open(file)
        for number, uri in enumerate(world.uris["dataset"][:10], 1):
            post = f"at://{BOB}/app.bsky.feed.post/{rev(number)}"
            posts.write(BOB, rev(number), [PostChange(post, (uri,))])
        yield posts
    finally:
        file.close()


def generator(feed: str) -> str:
    return f"at://{CAROL}/{GENERATOR}/{feed}"


def asks_nobody() -> Federation:
    """A node that may ask others, and knows none."""

    async def never(did: str, path: str) -> None:
        raise AssertionError(f"there is nobody who could have named {did}/{path}")

    async def active(did: str) -> bool:
        return True

    return Federation(
        "https://index.example", Peers([], CATALOG), RepoReader(never, active, CATALOG)
    )


def _examples() -> list[dict[str, Any]]:
    found = []
    for path in [*sorted(EXAMPLES.rglob("*.json")), *sorted(ATDATA.glob("*.json"))]:
        value = json.loads(path.read_text())
        value = value.get("value", value) if isinstance(value, dict) else {}
        if "invalid" not in path.parts and "$type" in value:
            check_record(CATALOG, value["$type"], None, from_json(value))
            found.append(value)
    return found


def _aside(uri: str) -> QuarantinedRecord:
    did = uri.removeprefix("at://").split("/")[0]
    problems = (Problem("/name", "is missing"),)
    return QuarantinedRecord(uri, did, "bafyreia", "3k", problems, b"", 0, 1_700_000_000_000_000)


def cursors_of(node: Node, methods: list[str]) -> dict[str, tuple[str, ...]]:
    """Cursors that the node itself gives, by method."""
    found: dict[str, tuple[str, ...]] = {}
    for nsid in methods:
        main = CATALOG.document(nsid)["defs"]["main"]
        parameters = main.get("parameters", {})
        names = parameters.get("properties", {})
        if main["type"] == "query" and {"cursor", "limit"} <= set(names):
            answer = node.http.get(f"/xrpc/{nsid}", params={"limit": 1})
            if answer.status_code == 200 and "cursor" in answer.json():
                found[nsid] = (answer.json()["cursor"],)
    return found
