"""Asking a node, and checking what it says.

A node is not trusted: a record that it hands out must hash to the CID that comes with it, fit its
lexicon, and be the one that was asked for. (Whether the CID is what the publisher signed is
for the publisher's repository to show; a node could leave records out, or serve an old version.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from atdex.errors import BadAnswer, NoNode, RecordMismatch, RecordRefused
from atdex_lexicons import AtUri, Catalog, Cid, LexiconsError
from atdex_lexicons.datamodel import encode, from_json
from atdex_lexicons.families import check_record
from atdex_lexicons.model import Dataset, Kind, Label, Lens, Model, Schema, Verification
from atdex_xrpc import Client
from atdex_xrpc.calls import MAX_RESPONSE_BYTES
from atdex_xrpc.client import TIMEOUT_SECONDS

METHODS: Final = "app.bsky.atdata."
"""The namespace of the queries that nodes serve (documents: `atdex_lexicons/documents`)."""

PAGE: Final = 100
"""Items in a page: the most that the methods give."""

MAX_PAGES: Final = 1000
"""Pages followed in one listing. A node that always has another page is wrong."""

_CLASSES: Final[Mapping[Kind, type[Any]]] = {
    "schema": Schema,
    "dataset": Dataset,
    "lens": Lens,
    "label": Label,
    "verification": Verification,
}

_default: str | None = None


def default_node(url: str | None = None) -> str:
    """Set the node that is asked where a call names none; without `url`, what it is.

    Raises NoNode where none is set.
    """
    global _default
    if url is not None:
        _default = url
    if _default is None:
        raise NoNode
    return _default


@dataclass(frozen=True, slots=True)
class Checked:
    """A record as a node served it, checked: it has the CID `cid` and fits its lexicon."""

    uri: str
    cid: str
    model: Any
    publisher: str
    handle: str | None
    view: Mapping[str, Any]
    """The node's whole answer, with what it adds and nobody can check."""


class Node:
    """One node. Raises the errors of `atdex_xrpc` where asking fails, and of this package where
    the answer is wrong."""

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout: float | None = None,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        """`timeout` is in seconds, for each question; `max_bytes` are those of an answer."""
        self._catalog = Catalog.bundled()
        self._client = Client(
            url or default_node(),
            timeout=TIMEOUT_SECONDS if timeout is None else timeout,
            max_bytes=max_bytes,
            catalog=self._catalog,
        )
        self.url = self._client.base_url

    def dataset(self, uri: str) -> Checked:
        return self._one("getDataset", "dataset", uri)

    def schema(self, uri: str) -> Checked:
        return self._one("getSchema", "schema", uri)

    def lens(self, uri: str) -> Checked:
        return self._one("getLens", "lens", uri)

    def label(self, publisher: str, name: str, version: str | None) -> tuple[Checked, Checked]:
        """A publisher's label, without `version` its highest, and the dataset that it names."""
        method = "resolveLabel"
        answer = self.ask(method, publisher=publisher, name=name, version=version)
        label = self.check(answer["label"], "label")
        dataset = self.check(answer["dataset"], "dataset")
        self._published_by(publisher, label, method)
        if not _same_place(label.model.dataset_uri, dataset.uri):
            raise BadAnswer(self.url, method, "the label names another dataset")
        if label.model.name != name or version not in (None, label.model.version):
            raise BadAnswer(self.url, method, "the label is not the one that was asked for")
        return label, dataset

    def labels(self, publisher: str) -> Iterator[Checked]:
        for view in self._pages("listLabels", "labels", publisher=publisher):
            yield self.check(view, "label")

    def datasets(self, publisher: str) -> Iterator[Checked]:
        """A publisher's datasets, newest first."""
        method = "listDatasets"
        for view in self._pages(method, "datasets", publisher=publisher):
            dataset = self.check(view, "dataset")
            self._published_by(publisher, dataset, method)
            yield dataset

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer of a query of the node, checked against the query's document."""
        answer = self._client.query(METHODS + method, params)
        if not isinstance(answer, dict):
            raise BadAnswer(self.url, method, "it is no object")
        return answer

    def check(self, view: Mapping[str, Any], kind: Kind) -> Checked:
        """The record in a view. Raises RecordMismatch, RecordRefused."""
        uri, cid = view["uri"], view["cid"]
        try:
            at = AtUri.parse(uri)
            record = from_json(view["record"])
            got = str(Cid.of_cbor(encode(record)))
            if got != cid:
                raise RecordMismatch(uri, cid, got)
            checked = check_record(self._catalog, at.collection or "", at.rkey or "", record)
        except LexiconsError as error:
            raise RecordRefused(uri, str(error)) from error
        model: Model = checked.model
        if not isinstance(model, _CLASSES[kind]):
            raise RecordRefused(uri, f"it is a {checked.kind}, and a {kind} was asked for")
        publisher = view["publisher"]
        if publisher["did"] != at.authority:
            raise RecordRefused(uri, f"it is in another repository than {publisher['did']}")
        return Checked(uri, cid, model, publisher["did"], publisher.get("handle"), view)

    def _one(self, method: str, kind: Kind, uri: str) -> Checked:
        checked = self.check(self.ask(method, uri=uri)[kind], kind)
        if not _same_place(uri, checked.uri):
            raise BadAnswer(self.url, method, f"asked for {uri}, it answered {checked.uri}")
        return checked

    def _published_by(self, publisher: str, checked: Checked, method: str) -> None:
        """Whether a record is whose it should be; what a handle stands for is the node's word."""
        same = (
            publisher == checked.publisher
            if publisher.startswith("did:")
            else checked.handle is None or publisher.lower() == checked.handle.lower()
        )
        if not same:
            raise BadAnswer(self.url, method, f"{checked.uri} is not of {publisher}")

    def _pages(self, method: str, key: str, **params: Any) -> Iterator[Mapping[str, Any]]:
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            answer = self.ask(method, limit=PAGE, cursor=cursor, **params)
            yield from answer[key]
            cursor = answer.get("cursor")
            if cursor is None:
                return
        raise BadAnswer(self.url, method, f"more than {MAX_PAGES} pages")

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _same_place(asked: str, answered: str) -> bool:
    """Whether an answer is at the URI asked for. A handle may stand for any DID."""
    left, right = AtUri.parse(asked), AtUri.parse(answered)
    return left[1:] == right[1:] and (
        left.authority == right.authority or not left.authority.startswith("did:")
    )
