"""`atdex lexicon check`, as its users call it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from atdex.cli import run
from atdex_lexicons.catalog import DOCUMENTS
from tests.lexicons.builders import NSID, document, object_of, record_of
from tests.support.paths import FIXTURES, INTEROP


def write(path: Path, value: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(path)


def test_valid_documents_are_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.json", document(main=record_of()))
    assert run(["lexicon", "check", file]) == 0
    assert capsys.readouterr().out == "1 valid\n"


def test_all_bundled_documents_are_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lexicon", "check", str(DOCUMENTS)]) == 0
    assert "not valid" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["schema", "dataset", "lens"])
def test_each_of_the_documents_as_proposed_is_refused(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["lexicon", "check", str(FIXTURES / "proposed" / f"{name}.json")]) == 1
    out = capsys.readouterr().out
    expected = {
        "schema": ["/defs/fieldType: a union cannot be a named definition", "object without prop"],
        "lens": [
            "/defs/transformCode: a union cannot be a named definition",
            "object without prop",
        ],
        "dataset": ["/metadata/type: a type cannot change: published as unknown, here bytes"],
    }
    for reason in expected[name]:
        assert reason in out


def test_the_proposed_dataset_breaks_with_what_is_published_and_nothing_else() -> None:
    file = str(FIXTURES / "proposed" / "dataset.json")
    assert run(["lexicon", "check", "--no-evolution", file]) == 0


def test_the_public_catalog_is_accepted_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    if not INTEROP.is_dir():
        pytest.skip("the public test vectors are absent")
    assert run(["lexicon", "check", str(INTEROP / "lexicon" / "catalog")]) == 0
    assert "note: refers to app.bsky.actor.defs, which was not given" in capsys.readouterr().out


def test_documents_are_checked_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user = document(o=object_of(p={"type": "ref", "ref": "com.example.other#gone"}))
    first = write(tmp_path / "a.json", user)
    second = write(tmp_path / "b.json", document("com.example.other", o=object_of()))
    assert run(["lexicon", "check", first]) == 0
    assert run(["lexicon", "check", first, second]) == 1
    assert f"{first}: /defs/o/properties/p/ref: 'com.example.other#gone'" in capsys.readouterr().out
    assert run(["lexicon", "check", str(tmp_path)]) == 1


def test_two_documents_with_one_name_must_be_equal(tmp_path: Path) -> None:
    first = write(tmp_path / "a.json", document(main=record_of()))
    same = write(tmp_path / "b.json", document(main=record_of()))
    other = write(tmp_path / "c.json", document(main=record_of(key="tid")))
    assert run(["lexicon", "check", first, same]) == 0
    assert run(["lexicon", "check", first, other]) == 1


def test_records_are_checked_against_the_documents_beside_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a.json", document(main=record_of(a={"type": "bytes"})))
    write(tmp_path / "good.json", {"$type": NSID, "a": {"$bytes": "YQ"}})
    assert run(["lexicon", "check", str(tmp_path)]) == 0
    write(tmp_path / "bad.json", {"$type": NSID, "a": "<msgpack bytes>"})
    write(tmp_path / "lost.json", {"$type": "com.example.lost"})
    capsys.readouterr()
    assert run(["lexicon", "check", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "bad.json: /a: expected bytes, got a string" in out
    assert "lost.json: /$type: lexicon 'com.example.lost' is not in the catalog" in out
    assert out.endswith("4 checked, 2 not valid\n")


def test_a_record_of_a_broken_document_is_not_judged(tmp_path: Path) -> None:
    write(tmp_path / "a.json", document(main=record_of(a={"type": "float"})))
    file = write(tmp_path / "r.json", {"$type": NSID})
    assert run(["lexicon", "check", str(tmp_path)]) == 1
    assert run(["lexicon", "check", file]) == 1


def test_the_answer_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "good.json", document(main=record_of()))
    bad = write(tmp_path / "bad.json", document("com.example.b", a={"type": "union", "refs": []}))
    assert run(["lexicon", "check", "--json", good, bad]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["valid"] is False
    assert [file["valid"] for file in answer["files"]] == [True, False]
    assert answer["files"][1]["nsid"] == "com.example.b"
    (problem,) = answer["files"][1]["problems"]
    assert problem["path"] == "/defs/a"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no json",
        "[]",
        "1",
        '{"$type": 1}',
        '{"lexicon": 1, "lexicon": 1}',
        "[" * 100000,
        " " * 1000001,
        '{"id": ["a"], "defs": 1}',
        '{"$type": "a.b.c", "defs": {}}',
    ],
)
def test_a_file_that_is_no_document_is_a_clear_error(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "bad.json", content)
    assert run(["lexicon", "check", file]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"{file}: ")
    assert len(out) < 2000
    assert "Traceback" not in out + err


def test_what_cannot_be_read_is_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write(tmp_path / "good.json", document(main=record_of()))
    assert run(["lexicon", "check", good, str(tmp_path / "none.json")]) == 1
    assert "none.json: cannot be read: No such file or directory" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    assert run(["lexicon", "check", str(tmp_path / "empty")]) == 1
    assert "the folder has no .json file" in capsys.readouterr().err
    assert run(["lexicon", "check"]) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/zero")
def test_an_endless_file_ends() -> None:
    assert run(["lexicon", "check", "/dev/zero"]) == 1
