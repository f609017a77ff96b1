"""Croissant documents as a node serves them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest

from atdex_appview.croissant.page import COLLECTIONS, croissant_path
from atdex_lexicons.families import to_record
from tests.appview.croissant.described import (
    accepted,
)
from tests.appview.index import ALICE, CLASSIC, NAMESPACE, Index, dataset, error_of, label
from tests.appview.index import schema as image_schema
from tests.support.expected import ATDATA, expected_samples
from tests.support.http import serve_directory

pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")
"""rdflib says so of itself."""


def test_a_dataset_of_each_family_has_its_document(tmp_path: Path) -> None:
    with Index.open(tmp_path) as index:
        for family in (CLASSIC, NAMESPACE):
            (schema,) = index.publish(ALICE, image_schema(), family=family)
            (put,) = index.publish(ALICE, dataset("cats", schema.uri), family=family)
            index.publish(ALICE, label("cats", put.uri, "3.1.4"), family=family)
            with index.serve() as node:
                response = node.http.get(f"/datasets/{ALICE}/{put.rkey}/croissant.json")
                assert response.status_code == 200
                assert response.headers["content-type"] == "application/ld+json"
                assert response.headers["x-content-type-options"] == "nosniff"
                read = accepted(response.json()).metadata
                assert (read.name, read.version) == ("cats", "3.1.4")
                assert {each.uuid for each in read.record_sets} == {"samples", "members"}
                own = f"https://index.example{croissant_path(put.uri)}"
                assert f'<{own}>; rel="canonical"' in response.headers["link"]
                again = node.http.get(croissant_path(put.uri))
                assert again.content == response.content
                view = node.http.get(read.url.removeprefix("https://index.example"))
                assert view.json()["dataset"]["uri"] == put.uri


def test_where_two_families_hold_one_key_the_collection_is_asked_for(tmp_path: Path) -> None:
    with Index.open(tmp_path) as index:
        (schema,) = index.publish(ALICE, image_schema())
        puts = [
            index.put(ALICE, to_record(dataset(family, schema.uri), family), "3kdataset2222")
            for family in (CLASSIC, NAMESPACE)
        ]
        index.commit(ALICE, *puts)
        with index.serve() as node:
            path = f"/datasets/{ALICE}/3kdataset2222/croissant.json"
            status, error, message = error_of(node.http.get(path))
            assert (status, error) == (400, "AmbiguousDataset")
            assert all(f"?collection={nsid}" in message for nsid in COLLECTIONS)
            for put in puts:
                found = node.http.get(path, params={"collection": put.collection}).json()
                assert found["sameAs"] == put.uri


def test_a_document_is_revalidated_by_its_etag_until_it_changes(tmp_path: Path) -> None:
    with Index.open(tmp_path) as index:
        (schema,) = index.publish(ALICE, image_schema())
        (put,) = index.publish(ALICE, dataset("cats", schema.uri))
        path = croissant_path(put.uri)
        with index.serve() as node:
            first = node.http.get(path)
            tag = first.headers["etag"]
            for sent in (tag, f'"x", W/{tag}', "*"):
                same = node.http.get(path, headers={"if-none-match": sent})
                assert (same.status_code, same.content) == (304, b"")
                assert same.headers["etag"] == tag
            head = node.http.head(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == str(len(first.content))
        index.publish(ALICE, label("cats", put.uri, "1.0.0"))
        with index.serve() as node:
            changed = node.http.get(path, headers={"if-none-match": tag})
            assert changed.status_code == 200
            assert changed.headers["etag"] != tag


def test_what_is_not_there_is_an_error_of_the_usual_shape(tmp_path: Path) -> None:
    with Index.open(tmp_path) as index:
        (schema,) = index.publish(ALICE, image_schema())
        (put,) = index.publish(ALICE, dataset("cats", schema.uri))
        path = f"/datasets/{ALICE}/{put.rkey}/croissant.json"
        with index.serve() as node:
            refusals = {
                f"/datasets/{ALICE}/3kunknown0000/croissant.json": (404, "DatasetNotFound"),
                f"/datasets/{ALICE}/{schema.rkey}/croissant.json": (404, "DatasetNotFound"),
                f"/datasets/nobody.example/{put.rkey}/croissant.json": (400, "InvalidRequest"),
                f"/datasets/not%20an%20account/{put.rkey}/croissant.json": (400, "InvalidRequest"),
                f"/datasets/{ALICE}/a%00b/croissant.json": (400, "InvalidRequest"),
                f"/datasets/{ALICE}/%FF/croissant.json": (400, "InvalidRequest"),
                f"{path}?collection={schema.collection}": (400, "InvalidRequest"),
                f"{path}?collection=": (400, "InvalidRequest"),
                f"{path}?collection=a&collection=b": (400, "InvalidRequest"),
                f"{path}?%zz=1": (400, "InvalidRequest"),
                f"{path}/": (404, "NotFound"),
            }
            for asked, (status, name) in refusals.items():
                assert error_of(node.http.get(asked))[:2] == (status, name), asked
            assert node.http.get(path, params={"unknown": "1"}).status_code == 200
            assert node.http.get(path.replace(ALICE, "alice.test")).status_code == 200
            assert error_of(node.http.post(path))[:2] == (405, "MethodNotAllowed")
            assert node.http.options(path).status_code == 204
        index.set_status(ALICE, active=False, status="takendown")
        with index.serve() as node:
            assert error_of(node.http.get(path))[:2] == (404, "DatasetNotFound")
        with index.serve() as node:
            index.close("store")
            assert error_of(node.http.get(path))[:2] == (503, "NodeUnavailable")


def test_text_of_a_record_cannot_end_the_element_that_a_page_puts_it_into(tmp_path: Path) -> None:
    with Index.open(tmp_path) as index:
        (schema,) = index.publish(ALICE, image_schema())
        named = "</script><script>alert(1)</script> & <!--"
        (put,) = index.publish(ALICE, dataset(named, schema.uri, tags=("<b>",)))
        with index.serve() as node:
            response = node.http.get(croissant_path(put.uri))
            assert not set(b"<>&") & set(response.content)
            assert response.json()["name"] == named


LOAD = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import mlcroissant
read = mlcroissant.Dataset(jsonld=json.loads(sys.argv[1]))
for record in read.records("members"):
    print(json.dumps([record["members/key"].decode(), record["members/content"].hex()]))
"""


@pytest.mark.timeout(180)
def test_mlcroissant_loads_the_samples_of_the_shards_that_a_document_names(tmp_path: Path) -> None:
    """The bytes of each; msgpack is nothing that it knows. In a process of its own, because it
    keeps what it fetches in a folder that is read from the environment when it is imported."""
    entry = json.loads((ATDATA / "entry_http.json").read_text())["value"]
    with Index.open(tmp_path / "node") as index, serve_directory(ATDATA) as shards:
        moved = json.loads(json.dumps(entry).replace("http://127.0.0.1:8000", shards))
        put = index.put(ALICE, moved)
        index.commit(ALICE, put)
        with index.serve(allow_private_hosts=True) as node:
            document = node.http.get(croissant_path(put.uri)).text
        loaded = subprocess.run(
            [sys.executable, "-c", LOAD, document],
            env=os.environ | {"CROISSANT_CACHE": str(tmp_path / "cache"), "NO_PROXY": "*"},
            capture_output=True,
            text=True,
            timeout=150,
        )
    assert loaded.returncode == 0, loaded.stderr
    rows = [json.loads(line) for line in loaded.stdout.splitlines()]
    expected = [sample["name"] for sample in expected_samples()]
    names = [msgpack.unpackb(bytes.fromhex(content))["name"] for _, content in rows]
    assert sorted(names) == sorted(expected)
    assert len({key for key, _ in rows}) == len(rows)
