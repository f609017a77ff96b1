"""The bundled lexicon documents, and the ones that were first proposed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atdex.cli.lexicon import check
from atdex_lexicons import Catalog, check_document
from atdex_lexicons.catalog import DOCUMENTS
from atdex_lexicons.document import unresolved
from atdex_lexicons.evolution import check_evolution
from atdex_lexicons.families import FAMILIES, collections
from tests.support.paths import FIXTURES, TESTS

FILES = sorted(DOCUMENTS.rglob("*.json"))
PROPOSED = FIXTURES / "proposed"
GUIDE = (TESTS.parent / "docs" / "lexicons.md").read_text()

METHODS = {
    "searchDatasets": "query",
    "getDataset": "query",
    "getDatasets": "query",
    "listDatasets": "query",
    "getSchema": "query",
    "listSchemas": "query",
    "resolveSchema": "query",
    "compareSchemas": "query",
    "getLens": "query",
    "listLenses": "query",
    "getLensPath": "query",
    "listReachableSchemas": "query",
    "resolveLabel": "query",
    "listLabels": "query",
    "getFeedSkeleton": "query",
    "getFeed": "query",
    "listFeeds": "query",
    "checkRecord": "procedure",
    "getRecordStatus": "query",
    "describeNode": "query",
    "subscribeRecords": "subscription",
}


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def bundled(nsid: str) -> dict[str, Any] | None:
    catalog = Catalog.bundled()
    return catalog.document(nsid) if nsid in catalog else None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_bundled_document_is_valid_and_refers_to_nothing_outside(path: Path) -> None:
    document = load(path)
    assert check_document(document, bundled) == []
    assert unresolved(document, bundled) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_bundled_document_lies_where_its_id_says(path: Path) -> None:
    assert ".".join(path.relative_to(DOCUMENTS).with_suffix("").parts) == load(path)["id"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_definition_and_property_of_a_document_is_described(path: Path) -> None:
    missing: list[str] = []

    def walk(node: Any, place: str) -> None:
        if not isinstance(node, dict):
            return
        for name, part in node.get("properties", {}).items():
            if "description" not in part:
                missing.append(f"{place}.{name}")
            walk(part, f"{place}.{name}")
        for key in ("record", "parameters", "schema", "input", "output", "message"):
            walk(node.get(key), f"{place}.{key}")

    for name, definition in load(path)["defs"].items():
        if "description" not in definition:
            missing.append(name)
        walk(definition, name)
    assert missing == []


def test_every_record_type_of_a_family_has_a_record_document() -> None:
    catalog = Catalog.bundled()
    assert {catalog.kind(nsid) for nsid in collections()} == {"record"}


@pytest.mark.parametrize(("name", "kind"), METHODS.items())
def test_every_method_has_a_document(name: str, kind: str) -> None:
    assert Catalog.bundled().kind(f"app.bsky.atdata.{name}") == kind


def test_a_view_carries_what_the_node_knows_of_every_record() -> None:
    defs = Catalog.bundled().document("app.bsky.atdata.defs")["defs"]
    common = {"uri", "cid", "rev", "publisher", "record", "firstSeen", "indexedAt", "conformance"}
    for name in ("datasetView", "schemaView", "lensView", "labelView"):
        assert common <= set(defs[name]["required"]), name


def test_paging_is_declared_alike_everywhere() -> None:
    catalog = Catalog.bundled()
    for name in METHODS:
        main = catalog.document(f"app.bsky.atdata.{name}")["defs"]["main"]
        properties = main.get("parameters", {}).get("properties", {})
        if "cursor" not in properties or main["type"] != "query":
            continue
        limit = properties["limit"]
        assert (limit["minimum"], limit["maximum"]) == (1, 100), name
        output = main["output"]["schema"]
        assert "cursor" in output["properties"], name
        assert "cursor" not in output["required"], name


# --- as first proposed ------------------------------------------------------------------------


def proposed_problems(name: str) -> list[str]:
    document = load(PROPOSED / f"{name}.json")
    found = check_document(document)
    if not found:
        published = Catalog.bundled().document(document["id"])
        found = check_evolution(published, document)
    return [problem.path for problem in found]


@pytest.mark.parametrize("name", ["schema", "dataset", "lens"])
def test_the_guide_lists_why_a_proposed_document_is_rejected(name: str) -> None:
    listed = GUIDE.split(f"### `{name}.json` as proposed", 1)[1].split("\n#", 1)[0]
    paths = [line.split("`")[1] for line in listed.splitlines() if line.startswith("| `")]
    assert paths == proposed_problems(name)
    assert paths


@pytest.mark.parametrize("name", ["schema", "dataset", "lens"])
def test_the_command_rejects_a_proposed_document(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(PROPOSED / f"{name}.json") == 1
    assert f"{name}.json: /defs/" in capsys.readouterr().out


def test_the_command_accepts_all_bundled_documents(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(DOCUMENTS) == 0
    assert capsys.readouterr().out == f"{len(FILES)} valid\n"


def test_the_guide_names_every_dialect_of_every_family() -> None:
    for family in FAMILIES:
        for name in family.dialects:
            assert f"| `{name}` |" in GUIDE, name
