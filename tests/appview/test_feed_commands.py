"""`atdex feed list` and `publish`, with a node and an account service over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atdex.cli import run
from atdex_appview.feeds.definition import read_feeds
from tests.appview.index import Index
from tests.support.account_pds import PASSWORD, AccountPds, account_pds

CONFIG = """
public_url = "https://index.example"
account = "operator.test"
account_service = "{url}"

[feeds.eyes]
title = "Pictures of eyes"
tags = ["eye"]

[feeds.long]
title = "A title that is longer than Bluesky shows"
"""
PATH = "app.bsky.feed.generator/eyes"

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pds() -> Iterator[AccountPds]:
    with account_pds() as serving:
        yield serving


@pytest.fixture
def call(
    tmp_path: Path,
    pds: AccountPds,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Call:
    """Calls `atdex feed publish` beside a configuration file."""
    (tmp_path / "atdex.toml").write_text(CONFIG.format(url=pds.url))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATDEX_APP_PASSWORD", PASSWORD)
    monkeypatch.setenv("COLUMNS", "200")

    def called(*arguments: str) -> tuple[int, str, str]:
        code = run(["feed", "publish", *arguments])
        out, err = capsys.readouterr()
        assert PASSWORD not in out + err
        return code, out, err

    return called


def test_a_feed_is_declared_once_and_brought_up_to_date(
    tmp_path: Path, pds: AccountPds, call: Call
) -> None:
    code, out, _ = call("eyes")
    assert code == 0
    assert out.startswith(f"created at://{pds.did}/{PATH}\n")
    assert f'feed_publisher = "{pds.did}"' in out
    record: dict[str, Any] = pds.records[PATH]
    assert (
        record.items()
        >= {
            "$type": "app.bsky.feed.generator",
            "did": "did:web:index.example",
            "displayName": "Pictures of eyes",
        }.items()
    )
    assert call("eyes")[1].startswith("unchanged ")
    assert len(pds.writes) == 1
    pds.records[PATH] = record | {"avatar": {"$type": "blob"}, "description": "by hand"}
    code, out, _ = call("eyes", "--json", "--public-url", "https://other.example")
    assert json.loads(out) == {
        "uri": f"at://{pds.did}/{PATH}",
        "outcome": "updated",
        "did": "did:web:other.example",
    }
    updated = {"did": "did:web:other.example", "avatar": {"$type": "blob"}}
    assert pds.records[PATH] == record | updated
    file = tmp_path / "atdex.toml"
    file.write_text(f'feed_publisher = "{pds.did}"\n{file.read_text()}')
    assert "feed_publisher" not in call("eyes")[1]


def test_what_cannot_be_declared_is_told_before_anything_is_sent(
    pds: AccountPds, call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refusal(*arguments: str) -> str:
        code, out, err = call(*arguments)
        assert (code, out) == (1, "")
        return err

    assert "the nearest is 'eyes'" in refusal("eye")
    assert "title" in refusal("long")
    assert "24" in refusal("long")
    (tmp_path / "bare.toml").write_text('account = "operator.test"\n')
    assert "public_url" in refusal("all", "--config", "bare.toml")
    monkeypatch.delenv("ATDEX_APP_PASSWORD")
    assert "ATDEX_APP_PASSWORD" in refusal("eyes")
    assert pds.logins == 0


def test_a_refused_login_and_a_service_that_is_away_are_errors_of_one_line(
    pds: AccountPds, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATDEX_APP_PASSWORD", "wrong-word")
    code, _, err = call("eyes")
    assert code == 1
    assert "Invalid identifier or password" in err
    assert "wrong-word" not in err
    assert err.count("\n") == 1
    code, _, err = call("eyes", "--account-service", "http://127.0.0.1:9")
    assert code == 1
    assert "try again later" in err


def test_the_feeds_of_a_node_are_listed_with_their_addresses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("ATDEX_NODE", raising=False)
    feeds = read_feeds({"eyes": {"title": "Eyes", "description": "Of eyes."}})
    with Index.open(tmp_path) as index, index.serve(feeds=feeds) as node:
        assert run(["feed", "list", "--node", node.url]) == 0
        out = capsys.readouterr().out
        assert "Eyes: Of eyes." in out
        assert f"{node.url}/feeds/eyes.atom" in out
        assert run(["feed", "list", "--node", node.url, "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert [feed["feed"] for feed in said["feeds"]] == ["all", "eyes"]
        assert run(["feed", "list"]) == 1
