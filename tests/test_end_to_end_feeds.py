"""Feeds with a real PDS: declared, asked for through it, and announced from an account on it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import feedparser
import httpx
import pytest

from atdex_lexicons.families import to_record
from demo.node import COMMAND
from tests.appview.index import CLASSIC, dataset, schema
from tests.devnet import Account, Devnet, Refused, Written
from tests.devnet.harness import PASSWORD
from tests.support.following import Follower

pytestmark = [pytest.mark.devnet, pytest.mark.timeout(240)]

POST = "app.bsky.feed.post"
SKELETON = "app.bsky.feed.getFeedSkeleton"
SECONDS = 45  # for a machine with much else to do; a second or two when idle
CREATED = "2026-01-02T03:04:05.000Z"

CONFIG = """
account = "{handle}"
app_password = "{password}"
account_service = "{pds}"
feed_publisher = "{did}"
announce = "loud"
announce_per_hour = 300

[feeds.eyes]
title = "Pictures of eyes"
tags = ["eye"]

[feeds.loud]
title = "What is announced"
tags = ["loud"]
"""


def publish(account: Account, schema_uri: str, name: str, *tags: str) -> Written:
    record = to_record(dataset(name, schema_uri, tags=tags), CLASSIC)
    return account.create_record(record["$type"], record)


@dataclass(frozen=True)
class Scene:
    devnet: Devnet
    folder: Path
    operator: Account
    alice: Account
    schema: str
    node: Follower

    @property
    def did(self) -> str:
        return str(self.node.query("app.bsky.atdata.describeNode")["did"])

    def publish(self, name: str, *tags: str) -> Written:
        return publish(self.alice, self.schema, name, *tags)

    def declare(self, name: str) -> dict[str, Any]:
        port = self.node.url.rpartition(":")[2]
        command = [str(COMMAND), "feed", "publish", name, "--json"]
        done = subprocess.run(
            [*command, "--public-url", f"http://localhost:{port}"],
            cwd=self.folder,
            env={k: v for k, v in os.environ.items() if not k.startswith("ATDEX_")},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def posts_of(self, feed: str) -> list[str]:
        """The posts of a feed on Bluesky, asked for without the PDS."""
        uri = f"at://{self.operator.did}/app.bsky.feed.generator/{feed}"
        return [each["post"] for each in self.node.query(SKELETON, feed=uri)["feed"]]

    def announced(self) -> dict[str, str]:
        """Dataset to post, of all posts in the operator's repo."""
        params = {"repo": self.operator.did, "collection": POST, "limit": 100}
        records = self.operator.query("com.atproto.repo.listRecords", **params)["records"]
        refs = [each["value"]["embed"]["external"]["associatedRefs"][0]["uri"] for each in records]
        assert len(set(refs)) == len(refs), "nothing is announced twice"
        return dict(zip(refs, (each["uri"] for each in records), strict=True))

    def wait(self, done: Callable[[], bool], what: str) -> None:
        self.node.wait(done, what, SECONDS)


@pytest.fixture(scope="module")
def scene(devnet: Devnet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("node")
    operator = devnet.create_account("operator-feeds.test")
    alice = devnet.create_account("alice-feeds.test")
    record = to_record(schema(), CLASSIC)
    made = alice.create_record(record["$type"], record)
    early = publish(alice, made.uri, "published before the node was there", "eye", "loud")
    names = {"handle": operator.handle, "did": operator.did, "pds": devnet.pds}
    (folder / "atdex.toml").write_text(CONFIG.format(password=PASSWORD, **names))
    with Follower(
        devnet.ws, devnet.plc, folder / "data", folder / "node.log", handles=devnet.pds
    ) as node:
        node.wait(lambda: node.dataset(early.uri) is not None, "first dataset", SECONDS)
        yield Scene(devnet, folder, operator, alice, made.uri, node)


def naming(uri: str, text: str = "Look at this") -> dict[str, Any]:
    external = {"uri": f"https://viewer.example/{uri}", "title": "A dataset", "description": ""}
    embed = {"$type": "app.bsky.embed.external", "external": external}
    return {"$type": POST, "text": text, "createdAt": CREATED, "embed": embed}


def test_a_declared_feed_is_answered_through_the_pds_with_its_token(
    scene: Scene, devnet: Devnet
) -> None:
    declared = scene.declare("eyes")
    assert declared["outcome"] == "created"
    assert declared["did"] == scene.did
    assert scene.declare("eyes")["outcome"] == "unchanged"
    described = scene.node.query("app.bsky.feed.describeFeedGenerator")
    assert declared["uri"] in {feed["uri"] for feed in described["feeds"]}
    eye, ear = scene.publish("eye", "eye"), scene.publish("ear")
    bob = devnet.create_account("bob-feeds.test")
    about_eye = bob.create_record(POST, naming(eye.uri))
    bob.create_record(POST, naming(ear.uri))
    bob.create_record(POST, {"$type": POST, "text": eye.uri, "createdAt": CREATED})
    scene.wait(lambda: scene.posts_of("eyes") == [about_eye.uri], "post about the dataset")
    reader = devnet.create_account("reader-feeds.test")
    through = reader.through_pds(f"{scene.did}#bsky_fg")
    answer = through.query(SKELETON, feed=declared["uri"], limit=30)
    assert answer == {"feed": [{"post": about_eye.uri}]}
    with pytest.raises(Refused) as refused:
        through.query(SKELETON, feed=declared["uri"].replace("eyes", "nope"))
    assert (refused.value.status, refused.value.error) == (400, "UnknownFeed")
    token = reader.service_token(scene.did, SKELETON)
    headers = {"authorization": f"Bearer {token}"}

    def directly() -> httpx.Response:
        url, params = f"{scene.node.url}/xrpc/{SKELETON}", {"feed": declared["uri"]}
        return httpx.get(url, params=params, headers=headers, trust_env=False)

    assert directly().status_code == 200
    again = directly()
    assert (again.status_code, again.json()["error"]) == (401, "JwtReplayed")


def test_a_post_leaves_the_feed_with_its_deletion_and_with_its_account(
    scene: Scene, devnet: Devnet
) -> None:
    put = scene.publish("short-lived fame", "eye")
    carol, dave = (devnet.create_account(f"{name}-feeds.test") for name in ("carol", "dave"))
    deleted = carol.create_record(POST, naming(put.uri))
    stays = carol.create_record(POST, naming(put.uri))
    gone = dave.create_record(POST, naming(put.uri))
    wanted = {deleted.uri, stays.uri, gone.uri}
    scene.wait(lambda: wanted <= set(scene.posts_of("eyes")), "three posts")
    carol.delete_record(POST, deleted.rkey)
    devnet.take_down(dave.did)
    scene.wait(lambda: wanted & set(scene.posts_of("eyes")) == {stays.uri}, "one post left")
    devnet.take_down(dave.did, applied=False)
    scene.wait(lambda: gone.uri in scene.posts_of("eyes"), "the post of an account that is back")
    devnet.delete_account(dave.did)
    scene.wait(lambda: gone.uri not in scene.posts_of("eyes"), "the end of a deleted account")


def test_the_repo_of_who_only_posts_is_not_followed(scene: Scene, devnet: Devnet) -> None:
    def tracked() -> int:
        states = scene.node.query("app.bsky.atdata.describeNode")["backfill"]["repos"]
        return sum(states.values())

    put = scene.publish("of interest", "eye")
    scene.wait(lambda: scene.node.dataset(put.uri) is not None, "the dataset")
    before = tracked()
    erin = devnet.create_account("erin-feeds.test")
    post = erin.create_record(POST, naming(put.uri))
    scene.wait(lambda: post.uri in scene.posts_of("eyes"), "the post")
    assert tracked() == before


def test_a_new_dataset_is_announced_once_and_its_post_goes_with_it(scene: Scene) -> None:
    put = scene.publish("hear, hear", "loud")
    quiet = scene.publish("not in the feed that is announced", "eye")
    scene.wait(lambda: put.uri in scene.announced(), "the announcement")
    post = scene.announced()[put.uri]
    scene.wait(lambda: post in scene.posts_of("loud"), "the announcement in the feed")
    scene.wait(lambda: scene.node.dataset(quiet.uri) is not None, "the quiet dataset")
    assert set(scene.announced()) == {put.uri}, "nothing from before, and nothing else"
    scene.alice.delete_record(put.uri.split("/")[3], put.rkey)
    scene.wait(lambda: scene.announced() == {}, "the end of the announcement")
    scene.wait(lambda: post not in scene.posts_of("loud"), "its end in the feed")


def test_a_killed_node_announces_nothing_twice(scene: Scene) -> None:
    first = scene.publish("before the kill", "loud")
    scene.wait(lambda: first.uri in scene.announced(), "the first announcement")
    scene.node.kill()
    second = scene.publish("while it was down", "loud")
    folder, devnet = scene.folder, scene.devnet
    with Follower(
        devnet.ws, devnet.plc, folder / "data", folder / "again.log", handles=devnet.pds
    ) as again:
        again.wait(lambda: again.dataset(second.uri) is not None, "what was missed", SECONDS)
        third = scene.publish("after the kill", "loud")
        again.wait(lambda: third.uri in scene.announced(), "the next announcement", SECONDS)
        assert first.uri in scene.announced()
        assert PASSWORD not in (folder / "again.log").read_text()
        assert PASSWORD not in (folder / "node.log").read_text()
        found = feedparser.parse(httpx.get(f"{again.url}/feeds/loud.atom", trust_env=False).content)
        assert not found.bozo
        assert found.entries[0].title == "after the kill"
