"""The store and the search index against a dict that does the same.

Hypothesis makes sequences of commits, replays and account changes; after each batch every list,
count and search must be what the model says. The two stores are the real ones, on disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from atdex_appview.search.index import SearchIndex
from atdex_appview.store.base import Applied, Change, Delete, Put, RepoChange, StatusChange
from atdex_appview.store.columns import place_of
from atdex_appview.store.duckdb import DuckDBStore
from tests.appview.model import Model
from tests.appview.records import ALICE, BOB, commit, dataset, put, uri

DIDS = (ALICE, BOB)
WORDS = ("retina", "oct", "speech", "noise")
RKEYS = ("a", "b", "c", "d")


Step = tuple[Literal["put", "delete", "invalid"], int, str, tuple[str, ...]]

steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "delete", "invalid"]),
        st.integers(0, len(RKEYS) - 1),
        st.sampled_from(WORDS),
        st.lists(st.sampled_from(WORDS), max_size=2).map(tuple),
    ),
    min_size=1,
    max_size=4,
)
events = st.one_of(
    st.tuples(st.just("commit"), st.sampled_from(DIDS), st.integers(-2, 1), steps),
    st.tuples(st.just("parts"), st.sampled_from(DIDS), st.booleans(), steps),
    st.tuples(
        st.just("status"),
        st.sampled_from(DIDS),
        st.sampled_from(["active", "deactivated", "takendown", "deleted"]),
    ),
)
batches = st.lists(st.lists(events, min_size=1, max_size=6), min_size=1, max_size=6)


PART = ("parts", BOB, True, [("put", 0, "retina", ())])
TWO_CLAIMED = ("parts", BOB, False, [("put", 0, "retina", ()), ("put", 1, "oct", ())])


class Sequence:
    """Turns drawn events into changes; revs mostly grow, and sometimes go back (a replay).

    What comes in parts of one rev is a fetched repo, or an unsigned commit, with one word on each
    record: two parts of one rev never contradict each other.
    """

    def __init__(self) -> None:
        self.rev = dict.fromkeys(DIDS, 10)
        self.put_before: set[str] = set()

    def changes(self, event: tuple[object, ...]) -> list[Change]:
        if event[0] == "status":
            _, did, word = event
            assert isinstance(did, str) and isinstance(word, str)
            return [StatusChange(did, word == "active", None if word == "active" else word)]
        what, did, how, drawn = event
        assert isinstance(did, str) and isinstance(how, int) and isinstance(drawn, list)
        if what == "commit":
            number = self.rev[did] + how
            self.rev[did] = max(self.rev[did], number)
            if how == 0:
                self.rev[did] = number = self.rev[did] + 1
            return [commit(did, number, *(self._op(did, step) for step in drawn))]
        self.rev[did] = number = self.rev[did] + 1
        signed = bool(how)
        ops = list({op.uri: op for op in (self._op(did, step) for step in drawn)}.values())
        return [commit(did, number, op, live=not signed, verified=signed) for op in ops]

    def _op(self, did: str, step: Step) -> Put | Delete:
        what, at, word, tags = step
        rkey = RKEYS[at]
        if what != "put":
            return Delete(uri(did, "dataset", rkey), keep_place=what == "invalid")
        model = dataset(word, tags=tags, description=f"of {' '.join(tags)}")
        made = put(did, rkey, model)
        # The hint is what a commit would say; after a replay or a deletion it is often wrong.
        created = made.uri not in self.put_before
        self.put_before.add(made.uri)
        return put(did, rkey, model, created=created)


@contextmanager
def opened(directory: Path) -> Iterator[tuple[DuckDBStore, SearchIndex]]:
    store = DuckDBStore.open(directory / "records.duckdb", memory_limit_mb=256)
    search = SearchIndex.open(directory / "search")
    try:
        yield store, search
    finally:
        store.close()
        search.close()


def listed(store: DuckDBStore, limit: int, **filters: str) -> list[str]:
    """A full walk of the datasets, as CIDs."""
    found: list[str] = []
    after = None
    while True:
        page = store.list_records("dataset", limit=limit, after=after, **filters)
        found += [record.cid for record in page]
        if len(page) < limit:
            return found
        after = (page[-1].first_seen, page[-1].uri)


def walked(search: SearchIndex, q: str, limit: int) -> tuple[list[str], int]:
    found: list[str] = []
    after = None
    while True:
        page = search.search(q, limit=limit, after=after)
        found += [hit.uri for hit in page.hits]
        if page.next is None:
            return found, page.total
        after = page.next


def rank(found: Put, word: str) -> int:
    name, tags = (found.values[place_of("dataset", column)] for column in ("name", "tags"))
    assert isinstance(tags, list)
    return 3 if name == word else 2 if word in tags else 0


@pytest.mark.timeout(180)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=batches, limit=st.integers(1, 3), reopen=st.booleans(), cut=st.integers(0, 4))
@example(  # an older commit after a fetched part, in words of its own
    drawn=[[PART, ("commit", BOB, -1, [("put", 0, "oct", ())])]], limit=1, reopen=False, cut=0
)
@example(  # the same, where the part says that the record is gone
    drawn=[
        [("commit", BOB, 1, [("put", 0, "oct", ())])],
        [
            ("parts", BOB, True, [("delete", 0, "oct", ())]),
            ("parts", BOB, True, [("delete", 0, "oct", ())]),
            ("commit", BOB, -1, [("put", 0, "oct", ())]),
        ],
    ],
    limit=1,
    reopen=False,
    cut=0,
)
@example(  # the account is deleted after its part, and active again later
    drawn=[[PART, ("status", BOB, "deleted")], [("status", BOB, "active")]],
    limit=1,
    reopen=False,
    cut=0,
)
@example(  # a deleted account has a newer repo, in parts
    drawn=[[("status", BOB, "deleted"), TWO_CLAIMED], [("status", BOB, "active")]],
    limit=1,
    reopen=False,
    cut=0,
)
@example(  # a signed version, another one, and the first again without a signature
    drawn=[
        [("commit", BOB, 1, [("put", 0, "oct", ())])],
        [
            ("commit", BOB, 1, [("put", 0, "noise", ())]),
            ("parts", BOB, False, [("put", 0, "oct", ())]),
        ],
    ],
    limit=1,
    reopen=False,
    cut=0,
)
@example(  # parts of one rev in two batches, the first without a record
    drawn=[
        [("parts", BOB, True, [("invalid", 0, "oct", ()), ("put", 1, "oct", ())])],
        [("status", BOB, "deactivated")],
    ],
    limit=1,
    reopen=True,
    cut=1,
)
def test_any_sequence_of_changes_leaves_what_the_model_says(
    drawn: list[list[tuple[object, ...]]], limit: int, reopen: bool, cut: int
) -> None:
    """`cut`: so many changes of each batch are applied in one before it."""
    model, sequence = Model(), Sequence()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for now, batch in enumerate(drawn):
            with opened(directory) as (store, search):
                changes = [change for event in batch for change in sequence.changes(event)]
                for batch_part in (changes[:cut], changes[cut:]):
                    apply(batch_part, model, store, search, now)
                    check(model, store, search, limit)
                if reopen:
                    continue
                replayed: list[Change] = [c for c in changes if isinstance(c, RepoChange)]
                before, number = deepcopy(model), store.change_number()
                again = apply(replayed, model, store, search, now + 50)
                check(model, store, search, limit)
                for did in set(DIDS) - unsettled(changes):
                    assert not [u for u in uris_of(again) if u.startswith(f"at://{did}/")]
                    assert model.of(did) == before.of(did)
                if not unsettled(changes):
                    assert again.number == number
                # Whatever it was, the replay has settled it.
                settled = apply(replayed, model, store, search, now + 99)
                assert (settled.number, uris_of(settled)) == (again.number, [])
                check(model, store, search, limit)


def apply(
    changes: list[Change], model: Model, store: DuckDBStore, search: SearchIndex, now: int
) -> Applied:
    applied = store.apply(changes, now=now)
    assert not {d.uri for d in applied.upserted} & set(applied.removed)
    search.update(applied.upserted, applied.removed)
    for change in changes:
        model.apply(change)
    return applied


def uris_of(applied: Applied) -> list[str]:
    return [*(document.uri for document in applied.upserted), *applied.removed]


def unsettled(changes: list[Change]) -> set[str]:
    """The accounts of which a replay of the batch may change something.

    Those are they of which something older, or a deletion, follows a fetched part: the replay
    passes the older commit over, and applies the part again.
    """
    parts: dict[str, str] = {}
    found = set()
    for change in changes:
        if isinstance(change, RepoChange) and not (change.live and change.verified):
            parts[change.did] = change.rev
        elif (isinstance(change, RepoChange) and change.rev < parts.get(change.did, "")) or (
            isinstance(change, StatusChange) and change.status == "deleted" and change.did in parts
        ):
            found.add(change.did)
    return found


def check(model: Model, store: DuckDBStore, search: SearchIndex, limit: int) -> None:
    visible = model.visible()
    assert listed(store, limit) == [found.cid for found in visible]
    for did in DIDS:
        expected = [found.cid for found in visible if found.did == did]
        assert listed(store, limit, publisher=did) == expected
    assert store.counts()["dataset"] == len(visible)
    assert store.counts()["publishers"] == len({found.did for found in visible})
    records = store.records([found.uri for found in visible])
    assert {uri: record.verified for uri, record in records.items()} == {
        found.uri: model.verified[found.uri] for found in visible
    }
    assert search.count() == len(visible)
    for word in WORDS:
        ranked = [found for found in visible if rank(found, word)]
        ranked.sort(key=lambda found: -rank(found, word))
        assert walked(search, word, limit) == ([found.uri for found in ranked], len(ranked))
    assert walked(search, "", limit) == ([found.uri for found in visible], len(visible))
