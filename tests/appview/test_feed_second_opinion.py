"""What a node says to Bluesky, read by the atproto SDK's models of Bluesky's own lexicons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atproto_client import models  # type: ignore[import-untyped]  # it ships no types
from atproto_client.models.utils import get_or_create  # type: ignore[import-untyped]  # nor here

from atdex.cli import run
from tests.appview.index import ALICE, dataset
from tests.appview.test_announcer import opened
from tests.appview.test_feed_generator import SCHEMA, serving
from tests.support.account_pds import PASSWORD, account_pds


def read(value: dict[str, Any], model: Any) -> Any:
    """Raises where a field is missing, or of another type or size."""
    return get_or_create(value, model, strict=True)


def test_feeds_are_described_and_listed_as_bluesky_reads_them(tmp_path: Path) -> None:
    with serving(tmp_path) as bsky:
        (eye,) = bsky.index.publish(ALICE, dataset("eye", SCHEMA, tags=("eye",)))
        posts = [bsky.post(number, eye.uri) for number in range(3)]
        page = read(bsky.get("eyes", limit=2).json(), models.AppBskyFeedGetFeedSkeleton.Response)
        assert [each.post for each in page.feed] == posts[:0:-1]
        assert page.cursor
        said = bsky.node.http.get("/xrpc/app.bsky.feed.describeFeedGenerator").json()
        about = read(said, models.AppBskyFeedDescribeFeedGenerator.Response)
        assert (about.did, len(about.feeds)) == ("did:web:index.example", 2)


def test_an_announcement_is_a_post_as_bluesky_reads_it(tmp_path: Path) -> None:
    with opened(tmp_path) as world:
        world.start()
        put = world.publish("New", tags=("eye",))
        world.work()
        (record,) = world.pds.records.values()
    post = read(record, models.AppBskyFeedPost.Record)
    assert post.text.startswith("New dataset: New")
    assert [each.uri for each in post.embed.external.associated_refs] == [put.uri]


def test_a_declaration_is_one_as_bluesky_reads_it(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATDEX_APP_PASSWORD", PASSWORD)
    with account_pds() as pds:
        to = ["--account", pds.handle, "--account-service", pds.url]
        assert run(["feed", "publish", "all", "--public-url", "https://index.example", *to]) == 0
        (record,) = pds.records.values()
    declared = read(record, models.AppBskyFeedGenerator.Record)
    assert (declared.did, declared.display_name) == ("did:web:index.example", "All datasets")
