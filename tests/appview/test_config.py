"""Where a setting comes from, who wins, and what a mistake is told."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from atdex_appview.config import SETTINGS, NodeConfig, load_config, to_toml
from atdex_appview.errors import ConfigError
from atdex_appview.feeds.definition import ALL, Feed
from tests.support.paths import TESTS

GUIDE = TESTS.parent / "docs" / "run-a-node.md"


def write(folder: Path, text: str) -> Path:
    file = folder / "atdex.toml"
    file.write_text(text)
    return file


def test_without_anything_the_defaults_are_the_safe_ones() -> None:
    config = load_config(None, {}, {})
    assert config == NodeConfig()
    assert config.host == "127.0.0.1"
    assert not config.allow_private_hosts
    assert config.plc == "https://plc.directory"
    assert all(relay.startswith("https://") for relay in config.relays)


def test_flags_win_over_variables_and_variables_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, 'host = "a.example"\nport = 1000\nplc = "https://a.example"\n')
    env = {"ATDEX_PORT": "2000", "ATDEX_PLC": "https://b.example", "HOME": "/nowhere"}
    config = load_config(file, env, {"plc": "https://c.example", "data_dir": None})
    assert (config.host, config.port, config.plc) == ("a.example", 2000, "https://c.example")
    assert config.data_dir == NodeConfig().data_dir


def test_lists_come_as_arrays_as_words_and_as_repeated_flags(tmp_path: Path) -> None:
    file = write(tmp_path, 'relays = ["https://a.example/", "https://a.example"]')
    assert load_config(file, {}, {}).relays == ("https://a.example",)
    env = {"ATDEX_RELAYS": "wss://a.example, http://127.0.0.1:2583"}
    assert load_config(file, env, {}).relays == ("wss://a.example", "http://127.0.0.1:2583")
    assert load_config(file, env, {"relays": ["ws://x.example"]}).relays == ("ws://x.example",)


def test_an_unknown_key_of_the_file_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"relay.*the nearest is 'relays'") as caught:
        load_config(write(tmp_path, 'relay = "https://a.example"'), {}, {})
    assert caught.value.key == "relay"
    assert caught.value.nearest == "relays"
    assert str(tmp_path) in str(caught.value)


def test_a_table_in_the_file_is_an_unknown_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'node'"):
        load_config(write(tmp_path, '[node]\nhost = "a.example"'), {}, {})


def test_an_unknown_variable_names_the_nearest_and_others_are_no_settings() -> None:
    with pytest.raises(ConfigError, match="the nearest is 'ATDEX_DATA_DIR'"):
        load_config(None, {"ATDEX_DATADIR": "/tmp/x"}, {})
    env = {"ATDEX_NODE": "http://127.0.0.1:1", "ATDEX_REQUIRE_DEVNET": "1", "PATH": ""}
    assert load_config(None, env, {}) == NodeConfig()


def test_an_unknown_flag_is_an_error() -> None:
    with pytest.raises(ConfigError, match="the nearest is 'host'"):
        load_config(None, {}, {"hst": "a.example"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('port = "x"', "port must be a whole number"),
        ("port = true", "port must be a whole number, not true or false"),
        ("port = 65536", "port must be from 0 to 65535"),
        ("port = -1", "port must be from 0 to 65535"),
        ("port = 1.5", "port must be a whole number"),
        ("host = 7", "host must be text, not a number"),
        ('host = ""', "host must be 1 to"),
        ('host = "a\\u0000b"', "host must be 1 to"),
        ('plc = "plc.directory"', "plc must be a URL that starts with https:// or http://"),
        ('plc = "ftp://plc.directory"', "plc must be a URL that starts with"),
        ('plc = "https://"', "plc is no URL with a host"),
        ('plc = "https://a.example:99999"', "plc is no URL"),
        ('plc = "https://[::1"', "plc is no URL"),
        ('plc = "https://me:secret@a.example"', "plc must carry no user name"),
        ('plc = "https://a.example/?q=1"', "plc must have no query"),
        ('public_url = "https://a.example/index"', "public_url must have no path"),
        ('relays = "a.example"', "relays must be a URL"),
        ('relays = ["https://a.example/x/y", 1]', "relays must be text"),
        ('hosts = "ftp://a.example"', "hosts must be a URL"),
        ("resync_workers = 0", "resync_workers must be from 1"),
        ("metrics_port = 70000", "metrics_port must be from 0"),
        ('handle_service = "https://a.example/xrpc"', "handle_service must have no path"),
        ("relays = [1]", "relays must be text"),
        ("relays = 1", "relays must be a list"),
        ('allow_private_hosts = "maybe"', "allow_private_hosts must be true or false"),
        ("allow_private_hosts = 1", "allow_private_hosts must be true or false"),
        ('collections = ["nope"]', "collections must be an NSID"),
        ('collections = ["a.b.*.c"]', "collections must be an NSID"),
        ('collections = ["com.example.*"]', "is no collection that a node indexes"),
        ('collections = ["science.alt.datset.entry"]', "'science.alt.dataset.entry'"),
        ('collections = ["science.alt.dataset.getEntry"]', "'science.alt.dataset.entry'"),
        ('collections = ["app.bsky.atdat.*"]', "is no collection that a node indexes"),
        ('collections = ["app.bsky.atdata.datasets"]', "'app.bsky.atdata.dataset'"),
        ('log_level = "loud"', "log_level must be one of debug, info, warning, error"),
        ('batch_delay = "soon"', "batch_delay must be a number of seconds"),
        ("batch_delay = nan", "batch_delay must be from"),
        ("batch_delay = 11", "batch_delay must be from"),
        ("batch_size = 0", "batch_size must be from 1"),
        ('feed_publisher = "alice.test"', "feed_publisher must be a DID"),
        ('account = "alice"', "account must be a handle or a DID"),
        ("announce_per_hour = 0", "announce_per_hour must be from 1"),
        ("feeds = 1", "feeds must be tables"),
        ("feeds.eyes = 1", "feeds has 'eyes' as a value"),
        ("[feeds.eyes]", "feeds has no title in 'eyes'"),
        ('[feeds.eyes]\ntitle = ""', "feeds has a title in 'eyes' that must be"),
        ('[feeds.eyes]\ntitle = "a\\u001b"', "feeds has a title in 'eyes' that must be"),
        ('[feeds.eyes]\ntitle = "x"\nlicence = "MIT"', "the nearest that a feed has is 'license'"),
        ('[feeds.eyes]\ntitle = "x"\nsort = "newest"', "has 'sort' in 'eyes'"),
        ('[feeds.eyes]\ntitle = "x"\ntags = "retina"', "/tags: expected an array"),
        ('[feeds.eyes]\ntitle = "x"\nschema = "at://x"', "/schema"),
        ('[feeds.eyes]\ntitle = "x"\nq = "a\\u0000"', "feeds has a q in 'eyes' that must be"),
        ('[feeds.eyes]\ntitle = "x"\nmaxHops = 2', "give that"),
        ('[feeds.eyes]\ntitle = "x"\nminSamples = 2\nmaxSamples = 1', "a minSamples above"),
        ('[feeds.eyes]\ntitle = "x"\nsince = "2026-02-31T00:00:00Z"', "/since: "),
        ('[feeds."../x"]\ntitle = "x"', "a name is 1 to 32 of"),
        ('[feeds."Eyes"]\ntitle = "x"', "a name is 1 to 32 of"),
        ('[feeds."-a"]\ntitle = "x"', "a name is 1 to 32 of"),
        ("host = ", "is no TOML"),
        ("port = 1\nport = 2", "is no TOML"),
    ],
)
def test_a_wrong_value_says_where_it_is_and_what_would_fit(
    tmp_path: Path, text: str, says: str
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, {}, {})
    assert str(file) in str(caught.value)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


def test_settings_that_contradict_each_other_are_an_error_that_says_which() -> None:
    def refusal(**flags: object) -> str:
        with pytest.raises(ConfigError) as caught:
            load_config(None, {}, flags)
        return str(caught.value)

    jetstream = "https://jetstream.example"
    assert "leave those out" in refusal(jetstream=jetstream, relays=["https://a.example"])
    assert "leave those out" in refusal(jetstream=jetstream, hosts=["https://a.example"])
    assert "name no relay" in refusal(relays=[])
    both = {"handle_service": "https://a.example", "dns_servers": ["1.1.1.1"]}
    assert "leave dns_servers out" in refusal(**both)
    me = {"account": "alice.test", "app_password": "x"}
    assert "the nearest is 'all'" in refusal(announce="al", **me)
    assert "needs account and app_password" in refusal(announce="all", account="alice.test")
    assert "Jetstream" in refusal(announce="all", jetstream=jetstream, **me)
    assert "Jetstream" in refusal(feed_publisher="did:plc:x", jetstream=jetstream)


def test_the_default_relay_is_followed_only_where_nothing_else_is_named() -> None:
    hosts = load_config(None, {}, {"hosts": ["https://pds.example"]})
    assert (hosts.relays, hosts.hosts) == ((), ("https://pds.example",))
    light = load_config(None, {}, {"jetstream": "wss://jetstream.example"})
    assert (light.relays, light.jetstream) == ((), "wss://jetstream.example")
    both = {"hosts": ["https://pds.example"], "relays": ["https://relay.example"]}
    assert load_config(None, {}, both).relays == ("https://relay.example",)
    assert load_config(None, {}, {}).relays == NodeConfig().relays


def test_a_wrong_variable_and_a_wrong_flag_are_called_by_their_names() -> None:
    with pytest.raises(ConfigError, match="ATDEX_PORT"):
        load_config(None, {"ATDEX_PORT": "x"}, {})
    with pytest.raises(ConfigError, match="--relay"):
        load_config(None, {}, {"relays": ["x"]})


def test_a_missing_or_binary_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.toml", {}, {})
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is no TOML"):
        load_config(tmp_path / "bad.toml", {}, {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path, {}, {})


def test_an_empty_variable_unsets_what_may_be_unset(tmp_path: Path) -> None:
    file = write(tmp_path, 'public_url = "https://index.example"')
    assert load_config(file, {"ATDEX_PUBLIC_URL": ""}, {}).public_url is None


def test_the_printed_configuration_reads_back_as_itself(tmp_path: Path) -> None:
    config = NodeConfig(
        relays=("https://a.example", "ws://127.0.0.1:1"),
        data_dir=tmp_path / 'a "quoted" \\ folder',
        public_url="https://index.example",
        allow_private_hosts=True,
        collections=("app.bsky.atdata.*",),
        batch_delay=0.05,
        backfill=False,
        dns_servers=("127.0.0.1:5353",),
        metrics_port=9000,
    )
    assert load_config(write(tmp_path, to_toml(config)), {}, {}) == config
    config = NodeConfig(relays=(), jetstream="wss://jetstream.example/subscribe")
    assert load_config(write(tmp_path, to_toml(config)), {}, {}) == config
    assert load_config(write(tmp_path, to_toml(NodeConfig())), {}, {}) == NodeConfig()
    feeds = (ALL, Feed("eyes", 'Of "eyes"', "\\o/", {"tags": ["a", "b"], "minSamples": 3}))
    config = NodeConfig(feeds=feeds, account="alice.test", feed_publisher="did:plc:x")
    assert load_config(write(tmp_path, to_toml(config)), {}, {}) == config


def test_a_secret_is_never_printed(tmp_path: Path) -> None:
    from dataclasses import replace

    env = {"ATDEX_APP_PASSWORD": "hunter2-hunter2"}
    config = load_config(None, env, {"account": "alice.test", "announce": "all"})
    assert config.app_password == "hunter2-hunter2"
    assert "hunter2" not in to_toml(config)
    assert "app_password" in to_toml(config)
    assert "hunter2" not in repr(config)
    for wrong in (
        f'app_password = ["{env["ATDEX_APP_PASSWORD"]}"]',
        'app_password = "hunter2\\u0000"',
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(write(tmp_path, wrong), {}, {})
        assert "hunter2" not in str(caught.value)
    table = tuple(replace(row, secret=row.name == "plc") for row in SETTINGS)
    printed = to_toml(NodeConfig(plc="https://hidden.example"), table)
    assert "hidden" not in printed
    assert "plc" in printed


@pytest.mark.parametrize(
    ("config", "did"),
    [
        (NodeConfig(), "did:web:localhost%3A3180"),
        (NodeConfig(port=0), "did:web:localhost%3A4567"),
        (NodeConfig(public_url="https://index.example"), "did:web:index.example"),
        (NodeConfig(public_url="https://index.example:8443"), "did:web:index.example%3A8443"),
    ],
)
def test_the_nodes_did_is_made_of_its_public_url(config: NodeConfig, did: str) -> None:
    assert config.did(port=4567 if config.port == 0 else None) == did


def test_the_table_of_settings_is_the_dataclass() -> None:
    assert [row.name for row in SETTINGS] == [f.name for f in fields(NodeConfig)]
    for row in SETTINGS:
        assert row.help.endswith(".")
        assert row.parse(row.default) == row.default


def test_every_setting_is_documented_with_its_variable_flag_and_help() -> None:
    rows = [line for line in GUIDE.read_text().splitlines() if line.startswith("| `")]
    for row in SETTINGS:
        line = next((line for line in rows if line.startswith(f"| `{row.name}` ")), "")
        assert line, f"{row.name} is missing in {GUIDE.name}"
        names = [f"`{name}`" if name else "" for name in (row.variable, row.flag)]
        assert [cell.strip() for cell in line.split("|")[2:4]] == names
        assert row.help in line
        assert f"| {row.type} |" in line
    columns = GUIDE.read_text().count("| setting | variable | flag |")
    assert columns == 1
    documented = {re.split("`", line)[1] for line in rows if line.count(" | ") >= 5}
    assert documented == {row.name for row in SETTINGS}


def test_a_collection_of_somebody_else_is_taken_as_it_is(tmp_path: Path) -> None:
    file = write(tmp_path, 'collections = ["com.example.thing", "app.bsky.atdata.*"]')
    assert load_config(file, {}, {}).collections == ("com.example.thing", "app.bsky.atdata.*")
