"""The node's configuration: one frozen dataclass, read once, in the entry point.

Flags win over `ATDEX_*` variables, variables over `atdex.toml`, the file over the defaults.
A key that is not known is an error that names the nearest one: a misspelt setting must not
leave a node running on the default.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import platformdirs

from atdex_appview import settings as kinds
from atdex_appview.errors import ConfigError
from atdex_appview.feeds.definition import DEFAULT_FEEDS, Feed, read_feeds
from atdex_appview.settings import Setting, WrongValue
from atdex_appview.slow import DEFAULT_MS
from atdex_appview.stream.log import DEFAULT_EVENTS, DEFAULT_HOURS
from atdex_lexicons.families import FAMILIES, collections
from atdex_xrpc.callers import MAX_PROXIES
from atdex_xrpc.fusion import MAX_SERVICES

FILE_NAME = "atdex.toml"
VARIABLE_PREFIX = "ATDEX_"

OTHER_VARIABLES = frozenset({"ATDEX_NODE", "ATDEX_CACHE_DIR", "ATDEX_REQUIRE_DEVNET"})
"""Variables of this prefix that belong to the SDK or to the tests: no settings, no mistakes."""

MAX_FILE_BYTES = 1_000_000
"""Bytes of a configuration file: a thousand times what one needs, and no log file by mistake."""

MAX_MEMORY_MB = 1_048_576
"""MB, one TiB: a higher memory limit is a slip of the unit."""


def _setting(
    default: Any, parse: kinds.Parse, type_: str, help_: str, flag: str = "", **more: bool
) -> Any:
    facts = _facts(parse, type_, help_, flag, **more)
    return field(default=default, repr=not more.get("secret", False), metadata=facts)


def _facts(
    parse: kinds.Parse, type_: str, help_: str, flag: str = "", **more: bool
) -> dict[str, Any]:
    return {"parse": parse, "type": type_, "help": help_, "flag": flag, "more": more}


SLIP_RATIO = 0.85
"""How much alike (0 to 1) an unknown collection is to a known one where it is a slip of the pen and
not a collection of somebody else."""


def _default_data_dir() -> Path:
    return platformdirs.user_data_path("atdex", appauthor=False) / "node"


def _collection(value: object) -> str:
    pattern = kinds.nsid_pattern(value)
    stem = pattern.removesuffix("*")
    known = collections()
    if pattern in known or (stem != pattern and any(c.startswith(stem) for c in known)):
        return pattern
    ours = any(pattern.startswith(f"{family.name}.") for family in FAMILIES)
    slip = difflib.get_close_matches(pattern, known, n=1, cutoff=SLIP_RATIO)
    if stem != pattern or ours or slip:
        nearest = difflib.get_close_matches(pattern, known, n=1, cutoff=0.0)[0]
        raise WrongValue(
            f"{pattern!r} is no collection that a node indexes; the nearest is {nearest!r}"
        )
    return pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """Everything that a node is told from outside. `SETTINGS` is the same as a table."""

    relays: tuple[str, ...] = _setting(
        ("https://relay1.us-east.bsky.network",),
        kinds.many(kinds.url("https", "http", "wss", "ws"), at_most=16),
        "list of URLs",
        "Relays to follow: a base URL, or the full address of subscribeRepos. "
        "The default holds where neither `hosts` nor `jetstream` is set.",
        flag="--relay",
    )
    hosts: tuple[str, ...] = _setting(
        (),
        kinds.many(kinds.url("https", "http", "wss", "ws"), at_most=64),
        "list of URLs",
        "PDSes to follow directly; each may speak of its own accounts only.",
        flag="--pds",
    )
    jetstream: str | None = _setting(
        None,
        kinds.optional(kinds.url("https", "http", "wss", "ws")),
        "URL",
        "A Jetstream to follow in place of relays and PDSes: light, and every record of it is "
        "marked as unverified.",
    )
    backfill: bool = _setting(
        True,
        kinds.flag,
        "boolean",
        "Also fetch what was published before the node connected, from the repos that the "
        "upstreams list.",
    )
    resync_workers: int = _setting(
        8, kinds.integer(1, 256), "integer", "Repos that are fetched at the same time."
    )
    plc: str = _setting(
        "https://plc.directory",
        kinds.url("https", "http"),
        "URL",
        "The PLC directory that did:plc identities are read from.",
    )
    handle_service: str | None = _setting(
        None,
        kinds.optional(kinds.url("https", "http", path=False)),
        "URL",
        "An XRPC service that is asked which account a handle names, in place of DNS and HTTPS. "
        "It is trusted.",
    )
    dns_servers: tuple[str, ...] = _setting(
        (),
        kinds.many(kinds.text, at_most=16),
        "list of addresses",
        "DNS servers to ask for handles, each an address or address:port. Empty: the system's.",
        flag="--dns-server",
    )
    data_dir: Path = field(
        default_factory=_default_data_dir,
        metadata=_facts(
            kinds.folder, "path", "Where the node keeps its stores. One node per folder."
        ),
    )
    host: str = _setting("127.0.0.1", kinds.text, "text", "Address to listen on.")
    port: int = _setting(
        3180, kinds.integer(0, 65535), "integer", "Port to listen on; 0 takes a free one."
    )
    public_url: str | None = _setting(
        None,
        kinds.optional(kinds.url("https", "http", path=False)),
        "URL",
        "What the node is called from outside; its did:web is made of it. "
        "Unset: http://localhost and the port.",
    )
    allow_private_hosts: bool = _setting(
        False,
        kinds.flag,
        "boolean",
        "Also ask hosts in private and loopback networks that others name, and accept handles that "
        "end in .test. For sandboxes.",
    )
    collections: tuple[str, ...] = _setting(
        (),
        kinds.many(_collection),
        "list of NSIDs",
        "Collections to index, each an NSID or a prefix with `.*`. Where none of a family is "
        "named: those of every family. One that no family knows is resolved through its authority.",
        flag="--collection",
    )
    peers: tuple[str, ...] = _setting(
        (),
        kinds.many(kinds.url("https", "http"), at_most=MAX_SERVICES),
        "list of URLs",
        "Other nodes, base URLs, that are asked as well where a search says `federate`.",
        flag="--peer",
    )
    batch_size: int = _setting(
        1000,
        kinds.integer(1, 10_000),
        "integer",
        "Changes that are written in one transaction at most.",
    )
    batch_delay: float = _setting(
        0.2,
        kinds.seconds(0.0, 10.0),
        "seconds",
        "How long a change waits for others before it is written.",
    )
    memory_limit_mb: int = _setting(
        768, kinds.integer(128, MAX_MEMORY_MB), "MB", "Memory that DuckDB may use."
    )
    metrics_host: str = _setting(
        "127.0.0.1", kinds.text, "text", "Address of the metrics for Prometheus."
    )
    metrics_port: int | None = _setting(
        None,
        kinds.optional(kinds.integer(0, 65535)),
        "integer",
        "Port of the metrics for Prometheus; 0 takes a free one. Unset: no metrics.",
    )
    feeds: tuple[Feed, ...] = _setting(
        DEFAULT_FEEDS,
        read_feeds,
        "tables",
        "Feeds: saved filters, each a table `[feeds.NAME]`. `all` is always there.",
        file_only=True,
    )
    feed_publisher: str | None = _setting(
        None,
        kinds.optional(kinds.did),
        "DID",
        "The account whose repository declares the feeds on Bluesky. Set: the node collects posts "
        "that name datasets, and answers as a Bluesky feed generator.",
    )
    account: str | None = _setting(
        None,
        kinds.optional(kinds.identifier),
        "handle or DID",
        "The operator's account, which declares feeds and announces datasets.",
    )
    app_password: str | None = _setting(
        None,
        kinds.optional(kinds.text),
        "secret",
        "An app password of that account. Never printed, and no flag.",
        secret=True,
    )
    account_service: str = _setting(
        "https://bsky.social",
        kinds.url("https", "http", path=False),
        "URL",
        "Where the account logs in: its PDS, or the entryway before it.",
    )
    announce: str | None = _setting(
        None,
        kinds.optional(kinds.text),
        "name of a feed",
        "Post each new dataset of this feed from the account. Unset: nothing is posted.",
    )
    announce_per_hour: int = _setting(
        10, kinds.integer(1, 300), "integer", "Announcements within an hour at most."
    )
    rate_limit: int = _setting(
        3000,
        kinds.integer(0, 10_000_000),
        "integer",
        "Points that one caller has in `rate_limit_seconds`; an ordinary query costs one, a search "
        "five. 0: no limit.",
    )
    rate_limit_seconds: int = _setting(
        300, kinds.integer(1, 86_400), "integer", "Seconds for which `rate_limit` holds."
    )
    proxies: int = _setting(
        0,
        kinds.integer(0, MAX_PROXIES),
        "integer",
        "Reverse proxies of yours that every request comes through: so many entries of "
        "X-Forwarded-For are believed, from the right.",
    )
    stream_events: int = _setting(
        DEFAULT_EVENTS,
        kinds.integer(1000, 100_000_000),
        "integer",
        "Changes that subscribeRecords can repeat at most.",
    )
    stream_hours: int = _setting(
        int(DEFAULT_HOURS),
        kinds.integer(1, 8760),
        "integer",
        "Hours for which it can repeat them at most.",
    )
    slow_query_ms: int = _setting(
        DEFAULT_MS,
        kinds.integer(0, 600_000),
        "integer",
        "Milliseconds from which on a query is logged as slow, by the shape of its parameters.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info",
        kinds.choice("debug", "info", "warning", "error"),
        "word",
        "Least severity that is logged: debug, info, warning or error.",
    )
    log_format: Literal["text", "json"] = _setting(
        "text", kinds.choice("text", "json"), "word", "Log lines as text or as json."
    )

    def origin(self, port: int | None = None) -> str:
        """What the node is called from outside; `port` is the one really bound."""
        return self.public_url or f"http://localhost:{self.port if port is None else port}"

    def did(self, port: int | None = None) -> str:
        """The node's did:web; a port is part of it, percent-encoded."""
        return "did:web:" + quote(urlsplit(self.origin(port)).netloc.lower(), safe="")


def _table() -> tuple[Setting, ...]:
    defaults = NodeConfig()
    return tuple(
        Setting(
            name=f.name,
            type=f.metadata["type"],
            default=getattr(defaults, f.name),
            help=f.metadata["help"],
            parse=f.metadata["parse"],
            flag=_flag(f.name, f.metadata["flag"], **f.metadata["more"]),
            **f.metadata["more"],
        )
        for f in fields(NodeConfig)
    )


def _flag(name: str, given: str, *, secret: bool = False, file_only: bool = False) -> str:
    return "" if secret or file_only else given or f"--{name.replace('_', '-')}"


SETTINGS: tuple[Setting, ...] = _table()


def load_config(
    file: Path | None, env: Mapping[str, str], flags: Mapping[str, object]
) -> NodeConfig:
    """Reads a configuration file (None: no file), variables and flags; the later ones win.

    A flag that is None was not given. Raises ConfigError, which names the place; also for
    settings that contradict each other.
    """
    known = {setting.name: setting for setting in SETTINGS}
    by_variable = {setting.variable: setting.name for setting in SETTINGS if setting.variable}
    found: dict[str, Any] = {}
    if file is not None:
        for key, value in _read(file).items():
            found[key] = _value(known, key, value, place=str(file))
    for variable, value in sorted(env.items()):
        if not variable.startswith(VARIABLE_PREFIX) or variable in OTHER_VARIABLES:
            continue
        if variable not in by_variable:
            raise _unknown(variable, by_variable, place="the environment")
        key = by_variable[variable]
        found[key] = _value(known, key, value, place=variable)
    for key, value in flags.items():
        if value is not None:
            place = known[key].flag if key in known else "the command line"
            found[key] = _value(known, key, value, place=place)
    if "relays" not in found and (found.get("hosts") or found.get("jetstream")):
        found["relays"] = ()
    config = NodeConfig(**found)
    _check(config)
    return config


def _check(config: NodeConfig) -> None:
    """Raises ConfigError where settings that are fine alone do not fit each other."""
    wrong = partial(ConfigError, "the settings together")
    if config.jetstream is not None and (config.relays or config.hosts):
        raise wrong("jetstream", "takes the place of relays and hosts: leave those out")
    if config.jetstream is None and not config.relays and not config.hosts:
        raise wrong("relays", "name no relay, and there is no PDS in hosts and no jetstream")
    if config.handle_service is not None and config.dns_servers:
        raise wrong("handle_service", "is asked in place of DNS: leave dns_servers out")
    if config.feed_publisher is not None and config.jetstream is not None:
        raise wrong("feed_publisher", "needs posts, which a Jetstream of dataset records lacks")
    if config.announce is not None:
        names = [feed.name for feed in config.feeds]
        if config.announce not in names:
            nearest = difflib.get_close_matches(config.announce, names, n=1, cutoff=0.0)[0]
            raise wrong("announce", f"{config.announce!r} is no feed; the nearest is {nearest!r}")
        if config.account is None or config.app_password is None:
            raise wrong("announce", "needs account and app_password, to post with")
        if config.jetstream is not None:
            raise wrong("announce", "is for verified records, which a Jetstream lacks")


def to_toml(config: NodeConfig, table: tuple[Setting, ...] = SETTINGS) -> str:
    """The configuration as a file that `load_config` reads back; secrets are left out."""
    lines: list[str] = []
    tables: list[str] = []
    for setting in table:
        if setting.name == "feeds":
            tables += _feed_tables(config.feeds)
            continue
        if setting.secret:
            lines.append(f"# {setting.name}: a secret, not shown")
            continue
        value = getattr(config, setting.name)
        if value is None:
            lines.append(f"# {setting.name} is not set")
        else:
            lines.append(f"{setting.name} = {_toml(value)}")
    return "\n".join(lines + tables) + "\n"


def _feed_tables(feeds: tuple[Feed, ...]) -> Iterator[str]:
    """Tables end the keys before them, so they come last."""
    for feed in feeds:
        yield f"\n[feeds.{feed.name}]"
        given = {"title": feed.title, "description": feed.description} | dict(feed.filters)
        yield from (f"{key} = {_toml(value)}" for key, value in given.items())


def _read(file: Path) -> dict[str, Any]:
    wrong = partial(ConfigError, str(file), None)
    try:
        with file.open("rb") as opened:
            raw = opened.read(MAX_FILE_BYTES + 1)
    except OSError as failure:
        raise wrong(f"cannot be read: {failure.strerror or failure}") from failure
    if len(raw) > MAX_FILE_BYTES:
        raise wrong(f"is larger than {MAX_FILE_BYTES} bytes")
    try:
        return tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise wrong(f"is no TOML: {failure}") from failure


def _value(known: Mapping[str, Setting], key: str, value: object, *, place: str) -> Any:
    if key not in known:
        raise _unknown(key, known, place=place)
    try:
        return known[key].parse(value)
    except WrongValue as wrong:
        raise ConfigError(place, key, str(wrong)) from None


def _unknown(key: str, known: Mapping[str, object], *, place: str) -> ConfigError:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
    return ConfigError(place, key, "is not a setting", nearest=nearest)


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case tuple() | list():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case _:
            return _quoted(str(value))


def _quoted(value: str) -> str:
    # TOML's basic string: settings hold printable text only, so two escapes are enough.
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
