from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atdex.cli import COMMANDS, run
from atdex.cli.output import TIMES
from tests.sdk.fake_node import (
    DATASET,
    HANDLE,
    LABEL,
    LENS,
    NOW,
    SCHEMA,
    FakeNode,
    entry,
    fake_node,
    fixture_record,
    uri,
)
from tests.sdk.shards import ATDATA, SHARDS, digits, shard_bytes, tar_bytes, write
from tests.support.http import serve_app, serve_directory


@pytest.fixture
def node() -> Iterator[FakeNode]:
    """A node with the dataset of the fixture, its shards served beside it."""
    with fake_node() as node, serve_directory(ATDATA) as files:
        record = fixture_record("entry_http.json")
        for shard, path in zip(record["storage"]["shards"], SHARDS, strict=True):
            shard["url"] = f"{files}/{path.name}"
        node.put(DATASET, record)
        node.put(LABEL, fixture_record("label.json"))
        lens = fixture_record("lens.json")
        node.put(LENS, lens)
        yield node


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def atdex_(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("ATDEX_NODE", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> Result:
        code = run(arguments)
        return Result(code, *capsys.readouterr())

    return call


def one_line(result: Result) -> str:
    assert result.code != 0
    assert result.out == ""
    assert result.err.startswith("atdex: ")
    assert result.err.count("\n") == 1
    return str(result.err)


def test_search_prints_what_matters_of_each_hit(node: FakeNode, atdex_: Any) -> None:
    result = atdex_("search", "fixture", "--node", node.url)
    assert result.code == 0
    for part in ("fixture", HANDLE, "Fix 1.0.0", "3 shards", "checksums", "#test", DATASET):
        assert part in result.out
    assert "1 dataset\n" in result.out


def test_search_prints_json(node: FakeNode, atdex_: Any) -> None:
    found = atdex_("search", "fixture", "--node", node.url, "--json").json
    assert found["hitsTotal"] == 1
    assert found["datasets"][0]["uri"] == DATASET


def test_search_passes_its_filters_on(node: FakeNode, atdex_: Any) -> None:
    atdex_(
        "search", "two", "words", "--tag", "a", "--tag", "b", "--schema", SCHEMA, "--publisher",
        HANDLE, "--limit", "7", "--node", node.url, "--viewable-as", SCHEMA, "--license", "MIT",
        "--min-samples", "1", "--max-samples", "2", "--since", NOW, "--until", NOW, "--sort",
        "largest",
    )  # fmt: skip
    params = node.asked[-1][1]
    assert params == {
        "q": "two words", "tags": ["a", "b"], "schema": SCHEMA, "publisher": HANDLE, "limit": 7,
        "viewableAs": SCHEMA, "license": "MIT", "minSamples": 1, "maxSamples": 2, "since": NOW,
        "until": NOW, "sort": "largest", "federate": False,
    }  # fmt: skip


def test_search_shows_by_which_lenses_a_hit_is_viewed_and_that_typos_were_forgiven(
    node: FakeNode, atdex_: Any
) -> None:
    node.lies[DATASET] = {"path": {"hops": 1, "lenses": [LENS]}}
    node.fuzzy = True
    result = atdex_("search", "fixture", "--viewable-as", SCHEMA, "--node", node.url)
    assert f"by {LENS}" in result.out
    assert "words near them do" in result.out
    found = atdex_("search", "fixture", "--node", node.url, "--json").json
    assert (found["fuzzy"], found["datasets"][0]["path"]["lenses"]) == (True, [LENS])


def test_lens_path_prints_each_way_and_fails_where_there_is_none(
    node: FakeNode, atdex_: Any
) -> None:
    asked = ("lens", "path", SCHEMA, SCHEMA + "2", "--node", node.url)
    result = atdex_(*asked)
    assert result.code == 0
    for part in ("1 lens\n", "reference", LENS):
        assert part in result.out
    found = atdex_(*asked, "--json", "--max-hops", "2", "--limit", "3", "--trust", "verified").json
    assert [lens["uri"] for lens in found["paths"][0]["lenses"]] == [LENS]
    assert node.asked[-1][1] | {"source": 0, "target": 0} == {
        "source": 0, "target": 0, "maxHops": 2, "limit": 3, "trust": "verified",
    }  # fmt: skip
    assert "no way of at most 4 lenses" in one_line(
        atdex_("lens", "path", SCHEMA + "2", SCHEMA, "--node", node.url)
    )


def test_search_says_what_it_left_out(node: FakeNode, atdex_: Any) -> None:
    node.lies[DATASET] = {"record": entry("forged fixture", [])}
    result = atdex_("search", "fixture", "--node", node.url)
    assert result.code == 0
    assert "left out" in result.err


def test_the_node_may_be_named_by_the_environment(
    node: FakeNode, atdex_: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATDEX_NODE", node.url)
    assert atdex_("search", "fixture", "--json").json["hitsTotal"] == 1


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        (DATASET, ["fixture", SCHEMA, "MIT", "sha256", "100 samples, 3 shards", HANDLE]),
        (f"@{HANDLE}/fixture", [DATASET, "Fix 1.0.0"]),
        (SCHEMA, ["Fix", "1.0.0", "image", "array", "mask", "array | None", "list of str"]),
        (LABEL, ["fixture", "1.0.0", DATASET]),
        (LENS, ["getter", "putter", "from", "to"]),
    ],
)
def test_show_prints_a_record_of_every_kind(
    source: str, parts: list[str], node: FakeNode, atdex_: Any
) -> None:
    result = atdex_("show", source, "--node", node.url)
    assert (result.code, result.err) == (0, "")
    for part in parts:
        assert part in result.out
    view = atdex_("show", source, "--node", node.url, "--json").json
    assert view["record"]["$type"].startswith("science.alt.dataset.")


def test_show_says_so_where_no_signature_was_verified(node: FakeNode, atdex_: Any) -> None:
    assert "signature" not in atdex_("show", DATASET, "--node", node.url).out
    node.lies[DATASET] = {"verified": False}
    assert "none was verified" in atdex_("show", DATASET, "--node", node.url).out


def test_show_finds_a_label_also_at_a_node_that_does_not_list_labels(
    node: FakeNode, atdex_: Any
) -> None:
    with serve_app(node.server(list_labels=False)) as url:
        assert DATASET in atdex_("show", LABEL, "--node", url).out
        missing = atdex_("show", uri("label", "3kfixture7777"), "--node", url)
        assert "knows no" in one_line(missing)


def test_head_prints_the_first_samples_typed(node: FakeNode, atdex_: Any, tmp_path: Path) -> None:
    arguments = (
        "head", DATASET, "-n", "3", "--node", node.url, "--cache-dir", str(tmp_path),
        "--allow-private-hosts",
    )  # fmt: skip
    result = atdex_(*arguments)
    assert (result.code, result.err) == (0, "")
    for part in (
        "sample 2",
        "plain0",
        f"uint8 2{TIMES}3, 1 to 91",
        "3 bytes: 01 00 ff",
        ">i2 scalar, 2",
    ):
        assert part in result.out
    lines = atdex_(*arguments, "--json").out.splitlines()
    assert len(lines) == 3
    image = json.loads(lines[0])["image"]
    assert image == {
        "dtype": "|u1", "shape": [2, 3], "min": 1, "max": 91, "data": [[63, 26, 4], [1, 81, 91]],
    }  # fmt: skip
    assert len(list(tmp_path.rglob("*.tar"))) == 1  # the other shards were not needed


def test_head_reads_files_without_a_schema(atdex_: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "d.tar", shard_bytes(digits(9)))
    result = atdex_("head", str(path), "--count", "2")
    assert f"uint8 4{TIMES}4" in result.out
    assert "sample 2" not in result.out


def test_head_says_when_nothing_was_verified(node: FakeNode, atdex_: Any, tmp_path: Path) -> None:
    for shard in node.records[DATASET]["storage"]["shards"]:
        shard["checksum"] = {"algorithm": "none", "digest": ""}
    result = atdex_(
        "head", DATASET, "--node", node.url, "--cache-dir", str(tmp_path), "--allow-private-hosts"
    )
    assert result.code == 0
    assert "not verified" in result.err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["search"], "no node to ask"),
        (["head", DATASET], "no node to ask"),
        (["show", DATASET], "no node to ask"),
        (["head", "pipe:ls"], "pipe: is never opened"),
        (["head", "/no/such/file.tar"], "there is no such file"),
        (["head", "file:///etc/passwd"], "give the path itself"),
        (["show", "x.tar", "--node", "http://127.0.0.1:9"], "takes an AT-URI"),
        (["show", "at://did:plc:a/a.b.c/d", "--node", "http://127.0.0.1:9"], "no collection"),
        (["search", "--node", "http://127.0.0.1:9"], "127.0.0.1:9"),
        (["search", "--node", "ftp://x"], "ftp"),
        (["search", "--limit", "many"], "many"),
        (["serach"], "did you mean 'search'"),
        (["xyzzy"], "commands: search"),
        (["head"], "requires"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    arguments: list[str], part: str, atdex_: Any
) -> None:
    assert part in one_line(atdex_(*arguments))


def test_what_is_not_there_or_not_allowed_is_one_line(
    node: FakeNode, atdex_: Any, tmp_path: Path
) -> None:
    here = ("--node", node.url)
    assert "knows no" in one_line(atdex_("show", uri("entry", "3kfixture7777"), *here))
    assert "knows no" in one_line(atdex_("show", uri("label", "3kfixture7777"), *here))
    assert "refused" in one_line(atdex_("head", DATASET, *here, "--cache-dir", str(tmp_path)))
    shard = node.records[DATASET]["storage"]["shards"][0]
    shard["checksum"]["digest"] = "0" * 64
    refused = atdex_("head", DATASET, *here, "--cache-dir", str(tmp_path), "--allow-private-hosts")
    assert "expected sha256 0000" in one_line(refused)


def test_text_of_a_record_cannot_talk_to_the_terminal(node: FakeNode, atdex_: Any) -> None:
    node.records[DATASET]["description"] = "\x1b[31mred\x1b]0;title\x07 [bold]markup[/bold]\u202e"
    node.records[DATASET]["name"] = "fixture \x1b[2J"
    for arguments in (["search", "fixture"], ["show", DATASET]):
        result = atdex_(*arguments, "--node", node.url)
        assert result.code == 0
        assert not {"\x1b", "\x07", "\u202e"} & set(result.out)
        assert "[bold]markup[/bold]" in result.out


@pytest.mark.parametrize("levels", [100, 300, 900])
def test_a_sample_of_many_levels_is_printed_cut(levels: int, tmp_path: Path, atdex_: Any) -> None:
    path = tmp_path / "deep.tar"
    path.write_bytes(tar_bytes([("a.msgpack", b"\x81\xa1a" + b"\x91" * levels + b"\x01")]))
    assert atdex_("head", str(path)).code == 0
    result = atdex_("head", str(path), "--json")
    assert result.code == 0
    assert result.out.count("[") == 63  # and the sample itself
    assert "…" in result.out
    assert result.json


def test_help_lists_every_command_and_loads_none_of_them() -> None:
    code = "import sys; from atdex.cli import run; run(['--help']); print(*sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    for name, (target, summary) in COMMANDS.items():
        assert name in shown
        assert summary in shown
        assert target.partition(":")[0] not in shown.split()


def test_the_command_is_installed() -> None:
    script = Path(sys.executable).with_name("atdex")
    shown = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0
    assert shown.stdout.strip()
