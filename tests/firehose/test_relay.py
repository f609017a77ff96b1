"""The addresses of upstreams."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atdex_firehose import ConfigError
from atdex_firehose.relay import parse_jetstream, parse_relay


@pytest.mark.parametrize(
    "url",
    [
        "https://relay.test",
        "wss://relay.test/",
        "https://RELAY.test/xrpc/com.atproto.sync.subscribeRepos",
        "wss://relay.test/xrpc/com.atproto.sync.subscribeRepos/",
    ],
)
def test_one_relay_has_one_name_however_it_is_written(url: str) -> None:
    relay = parse_relay(url)
    assert relay.base == "https://relay.test"
    path = "/xrpc/com.atproto.sync.subscribeRepos"
    assert relay.subscription(7) == f"wss://relay.test{path}?cursor=7"


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("ws://127.0.0.1:6008", "http://127.0.0.1:6008/subscribe"),
        ("http://[::1]:6008/subscribe/", "http://[::1]:6008/subscribe"),
        ("wss://jetstream.test/subscribe", "https://jetstream.test/subscribe"),
        ("wss://shared.test/jetstream/subscribe", "https://shared.test/jetstream/subscribe"),
    ],
)
def test_one_jetstream_has_one_name_however_it_is_written(url: str, base: str) -> None:
    assert parse_jetstream(url).base == base


def test_a_jetstream_is_asked_for_collections_from_a_time_on() -> None:
    jetstream = parse_jetstream("wss://jetstream.test")
    size = "maxMessageSizeBytes=5000000"
    assert jetstream.subscription(None, []) == f"wss://jetstream.test/subscribe?{size}"
    assert jetstream.subscription(1_700_000_000_000_000, ["app.test.note", "app.other.*"]) == (
        f"wss://jetstream.test/subscribe?{size}&wantedCollections=app.test.note"
        "&wantedCollections=app.other.%2A&cursor=1700000000000000"
    )


@pytest.mark.parametrize("parse", [parse_relay, parse_jetstream])
@pytest.mark.parametrize(
    "url",
    [
        "relay.test", "ftp://relay.test", "https://", "https://relay.test/elsewhere",
        "https://relay.test?cursor=7", "https://relay.test#x", "https://me@relay.test",
        "https://relay.test:port", "https://[relay.test",
    ],
)  # fmt: skip
def test_what_is_no_address_of_an_upstream_is_refused(
    parse: Callable[[str], object], url: str
) -> None:
    with pytest.raises(ConfigError):
        parse(url)
