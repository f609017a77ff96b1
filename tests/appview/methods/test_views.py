"""Records as they are shown, and how they are named."""

from __future__ import annotations

from dataclasses import replace

from atdex_appview.store.base import Delete, RepoChange
from atdex_lexicons.families import to_record
from tests.appview.index import (
    ALICE,
    BOB,
    NAMESPACE,
    Index,
    Node,
    dataset,
    label,
    lens,
    schema,
    verification,
)
from tests.appview.methods.serving import NOBODY, publish_schema, uris
from tests.appview.records import rev


def test_a_dataset_is_shown_with_its_record_publisher_schema_and_labels(
    index: Index, node: Node
) -> None:
    image = publish_schema(index)
    [found] = index.publish(ALICE, dataset("retina", image.uri, shards=3))
    index.publish(ALICE, label("retina", found.uri, "2.0.0"), label("retina", found.uri, "10.0.0"))
    index.publish(ALICE, label("best", found.uri))
    view = node.ask("getDataset", uri=found.uri)["dataset"]
    assert view["record"]["name"] == "retina"
    assert (view["uri"], view["cid"], view["conformance"]) == (found.uri, found.cid, "valid")
    assert view["publisher"] == {"did": ALICE, "handle": "alice.test"}
    assert view["schema"] == {
        "uri": image.uri,
        "cid": image.cid,
        "name": "Image",
        "version": "1.0.0",
    }
    assert (view["shardCount"], view["checksummed"]) == (3, True)
    assert [(row["name"], row.get("version")) for row in view["labels"]] == [
        ("retina", "10.0.0"),
        ("retina", "2.0.0"),
        ("best", None),
    ]
    assert view["firstSeen"] == view["indexedAt"]
    assert view["firstSeen"].endswith("Z")
    assert "score" not in view


def test_both_families_are_shown_in_the_same_way(index: Index, node: Node) -> None:
    [image] = index.publish(BOB, schema(), family=NAMESPACE)
    [found] = index.publish(BOB, dataset("retina", image.uri), family=NAMESPACE)
    view = node.ask("getDataset", uri=found.uri)["dataset"]
    assert view["schema"]["uri"] == image.uri
    assert view["checksummed"] is True
    assert node.ask("getSchema", uri=image.uri)["schema"]["name"] == "Image"


def test_a_dataset_whose_schema_is_not_here_is_shown_without_it(index: Index, node: Node) -> None:
    missing = f"at://{NOBODY}/science.alt.dataset.schema/3k2aaaaaaaaa2"
    [found] = index.publish(ALICE, dataset("retina", missing))
    view = node.ask("getDataset", uri=found.uri)["dataset"]
    assert "schema" not in view
    assert view["labels"] == []


def test_a_lens_shows_its_code_and_only_the_verifications_of_this_version(
    index: Index, node: Node
) -> None:
    source, target = index.publish(ALICE, schema(), schema("Grey"))
    [grey] = index.publish(ALICE, lens("grey", source.uri, target.uri))
    good, _ = index.publish(
        BOB, verification(grey.uri, grey.cid), verification(grey.uri, source.cid)
    )
    view = node.ask("getLens", uri=grey.uri)["lens"]
    assert (view["code"], view["source"], view["target"]) == ("reference", source.uri, target.uri)
    assert view["verifications"] == [{"uri": good.uri, "verifier": BOB, "method": "codeReview"}]


def test_an_update_changes_the_record_and_not_the_place_in_the_list(
    index: Index, node: Node
) -> None:
    image = publish_schema(index)
    old, new = index.publish(ALICE, dataset("old", image.uri), dataset("new", image.uri))
    before = node.ask("getDataset", uri=old.uri)["dataset"]
    record = dict(before["record"], name="changed")
    index.commit(ALICE, index.put(ALICE, record, old.rkey))
    after = node.ask("getDataset", uri=old.uri)["dataset"]
    assert after["record"]["name"] == "changed"
    assert after["firstSeen"] == before["firstSeen"]
    assert after["indexedAt"] > before["indexedAt"]
    assert after["rev"] > before["rev"]
    assert uris(node.ask("listDatasets")["datasets"]) == [new.uri, old.uri]


def test_a_record_without_a_signature_behind_it_is_marked_until_a_verified_one_comes(
    index: Index, node: Node
) -> None:
    image = f"at://{ALICE}/science.alt.dataset.schema/3k2aaaaaaaaa2"
    put = index.put(ALICE, to_record(dataset("retina", image)))
    claim = RepoChange(ALICE, rev(1), (put,), None, None, verified=False)
    index.apply(claim)
    assert node.ask("getDataset", uri=put.uri)["dataset"]["verified"] is False
    assert node.ask("searchDatasets", q="retina")["datasets"][0]["verified"] is False
    index.apply(replace(claim, live=False, verified=True))
    proven = node.ask("getDataset", uri=put.uri)["dataset"]
    assert "verified" not in proven
    index.apply(replace(claim, rev=rev(2)))
    assert node.ask("getDataset", uri=put.uri)["dataset"] == proven


def test_a_publisher_may_be_named_by_did_or_by_handle(index: Index, node: Node) -> None:
    image = publish_schema(index)
    [mine] = index.publish(ALICE, dataset("mine", image.uri))
    index.publish(BOB, dataset("other", image.uri))
    for name in (ALICE, "alice.test", "ALICE.test"):
        assert uris(node.ask("listDatasets", publisher=name)["datasets"]) == [mine.uri]
        assert uris(node.ask("searchDatasets", publisher=name)["datasets"]) == [mine.uri]
        by_handle = mine.uri.replace(ALICE, name)
        assert node.ask("getDataset", uri=by_handle)["dataset"]["uri"] == mine.uri
    by_handle = image.uri.replace(ALICE, "alice.test")
    assert len(node.ask("listDatasets", schema=by_handle)["datasets"]) == 2


def test_an_unknown_handle_is_a_bad_request_and_an_unknown_did_has_nothing(
    index: Index, node: Node
) -> None:
    for method in ("listDatasets", "listSchemas", "listLenses", "searchDatasets"):
        status, error, message = node.refused(method, publisher="nobody.test")
        assert (status, error) == (400, "InvalidRequest")
        assert "nobody.test" in message
    assert node.ask("listDatasets", publisher=NOBODY) == {"datasets": []}
    status, error, _ = node.refused(
        "getDataset", uri="at://nobody.test/science.alt.dataset.entry/x"
    )
    assert (status, error) == (400, "InvalidRequest")


def test_getting_a_record_of_another_kind_says_what_it_is(index: Index, node: Node) -> None:
    image = publish_schema(index)
    [grey] = index.publish(ALICE, lens("grey", image.uri, image.uri))
    assert node.refused("getDataset", uri=grey.uri) == (
        404,
        "DatasetNotFound",
        f"{grey.uri} is a lens, not a dataset",
    )
    assert node.refused("getSchema", uri=grey.uri)[:2] == (404, "SchemaNotFound")
    assert node.refused("getLens", uri=image.uri)[:2] == (404, "LensNotFound")
    unknown = f"at://{ALICE}/science.alt.dataset.entry/3k2aaaaaaaaa2"
    assert node.refused("getDataset", uri=unknown)[:2] == (404, "DatasetNotFound")
    assert node.refused("getDataset", uri=f"at://{ALICE}")[:2] == (400, "InvalidRequest")
    assert node.refused("getDataset", uri=f"at://{ALICE}/a.b.c")[:2] == (400, "InvalidRequest")


def test_several_datasets_come_in_the_order_asked_for_and_the_rest_by_name(
    index: Index, node: Node
) -> None:
    image = publish_schema(index)
    puts = index.publish(ALICE, *(dataset(f"set {n}", image.uri) for n in range(3)))
    by_handle = puts[1].uri.replace(ALICE, "alice.test")
    strange = "at://nobody.test/science.alt.dataset.entry/3k2aaaaaaaaa2"
    asked = [puts[2].uri, image.uri, by_handle, strange, puts[0].uri]
    answer = node.ask("getDatasets", uris=asked)
    assert uris(answer["datasets"]) == [puts[2].uri, puts[1].uri, puts[0].uri]
    assert answer["notFound"] == [image.uri, strange]


def test_a_label_resolves_to_the_highest_version_by_semver(index: Index, node: Node) -> None:
    image = publish_schema(index)
    old, new = index.publish(ALICE, dataset("old", image.uri), dataset("new", image.uri))
    index.publish(ALICE, label("set", new.uri, "10.0.0"), label("set", old.uri, "2.0.0"))
    newest = node.ask("resolveLabel", publisher="alice.test", name="set")
    assert (newest["uri"], newest["cid"]) == (new.uri, new.cid)
    assert newest["label"]["version"] == "10.0.0"
    assert newest["dataset"]["record"]["name"] == "new"
    exact = node.ask("resolveLabel", publisher=ALICE, name="set", version="2.0.0")
    assert exact["uri"] == old.uri


def test_a_label_that_leads_nowhere_is_not_found(index: Index, node: Node) -> None:
    image = publish_schema(index)
    [gone] = index.publish(ALICE, dataset("gone", image.uri))
    index.publish(ALICE, label("set", gone.uri), label("odd", image.uri))
    index.commit(ALICE, Delete(gone.uri))
    for params in (
        {"publisher": ALICE, "name": "set"},
        {"publisher": ALICE, "name": "odd"},
        {"publisher": ALICE, "name": "none"},
        {"publisher": ALICE, "name": "set", "version": "9.9.9"},
        {"publisher": BOB, "name": "set"},
        {"publisher": "nobody.test", "name": "set"},
    ):
        assert node.refused("resolveLabel", **params)[:2] == (404, "LabelNotFound")
