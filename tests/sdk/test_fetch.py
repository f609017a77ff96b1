from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atdex.cache import ShardCache
from atdex.checksum import HEX_LENGTHS, Expected, expected
from atdex.errors import (
    BadChecksum,
    CacheError,
    ChecksumMismatch,
    FetchFailed,
    ShardTooLarge,
    UnsafeShard,
    Unsupported,
)
from atdex.fetch import PROGRESS_BYTES, Fetcher, Progress, Retry
from atdex_lexicons.model import Checksum
from tests.sdk.scripted import Answer, Exchange, scripted

CONTENT = bytes(range(256)) * 400
WANTED = Expected("sha256", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    return ShardCache(tmp_path / "cache")


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def fetcher(cache: ShardCache, waits: list[float]) -> Iterator[Fetcher]:
    with Fetcher(cache, allow_private_hosts=True, retry=Retry(sleep=waits.append)) as fetcher:
        yield fetcher


def whole(exchange: Exchange) -> None:
    exchange.ranged(CONTENT, ETag='"v1"')


def status(code: int, **headers: str) -> Answer:
    return lambda exchange: exchange.reply(code, b"no", **headers)


def broken(at: int, content: bytes = CONTENT, **headers: str) -> Answer:
    return lambda exchange: exchange.cut_off(200, content, at, **headers)


def files(cache: ShardCache) -> list[str]:
    return sorted(p.name for p in cache.root.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_a_shard_is_fetched_once_and_then_comes_from_the_cache(
    fetcher: Fetcher, cache: ShardCache
) -> None:
    with scripted(whole) as server:
        path = fetcher.fetch(server.url, WANTED)
        assert path.read_bytes() == CONTENT
        assert fetcher.fetch(server.url, WANTED) == path
    assert len(server.requests) == 1
    assert server.requests[0]["accept-encoding"] == "identity"
    assert files(cache) == [f"{WANTED.digest}.tar"]


@pytest.mark.parametrize("algorithm", HEX_LENGTHS)
def test_every_algorithm_is_compared(algorithm: str, fetcher: Fetcher, cache: ShardCache) -> None:
    digest = hashlib.new(algorithm, CONTENT).hexdigest()
    with scripted(whole) as server:
        assert fetcher.fetch(server.url, Expected(algorithm, digest)).is_file()
        with pytest.raises(ChecksumMismatch):
            fetcher.fetch(server.url, Expected(algorithm, digest[::-1]))


def test_a_wrong_checksum_names_shard_expected_and_got_and_the_file_is_not_kept(
    fetcher: Fetcher, cache: ShardCache
) -> None:
    wrong = Expected("sha256", "0" * 64)
    with scripted(whole) as server:
        with pytest.raises(ChecksumMismatch) as caught:
            fetcher.fetch(server.url, wrong)
        error = caught.value
        assert (error.url, error.algorithm) == (server.url, "sha256")
        assert (error.expected, error.got) == (wrong.digest, WANTED.digest)
        assert all(part in str(error) for part in (server.url, wrong.digest, WANTED.digest))
        assert files(cache) == []
    assert len(server.requests) == 1


def test_a_download_that_breaks_off_goes_on_where_it_ended(
    fetcher: Fetcher, waits: list[float]
) -> None:
    with scripted(broken(30_000, ETag='"v1"'), whole) as server:
        assert fetcher.fetch(server.url, WANTED).read_bytes() == CONTENT
    assert server.requests[1]["range"] == "bytes=30000-"
    assert server.requests[1]["if-range"] == '"v1"'
    assert len(waits) == 1


def test_a_download_of_an_earlier_process_goes_on_where_it_ended(cache: ShardCache) -> None:
    once = Retry(attempts=1, sleep=lambda _: None)
    with scripted(broken(30_000, ETag='"v1"'), whole) as server:
        with (
            Fetcher(cache, allow_private_hosts=True, retry=once) as first,
            pytest.raises(FetchFailed),
        ):
            first.fetch(server.url, WANTED)
        with Fetcher(cache, allow_private_hosts=True, retry=once) as second:
            assert second.fetch(server.url, WANTED).read_bytes() == CONTENT
    assert server.requests[1]["range"] == "bytes=30000-"


@pytest.mark.parametrize("header", ["ETag", "Last-Modified"])
@pytest.mark.parametrize("expects", [WANTED, None])
def test_a_version_that_cannot_be_said_back_is_none(
    fetcher: Fetcher, header: str, expects: Expected | None
) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.cut_off(200, CONTENT, 30_000, **{header: '"\xe9"'})

    def answer(exchange: Exchange) -> None:
        exchange.ranged(CONTENT, **{header: '"\xe9"'})

    with scripted(cut, answer) as server:
        assert fetcher.fetch(server.url, expects).read_bytes() == CONTENT
        assert fetcher.fetch(server.url, expects).read_bytes() == CONTENT
    assert not {"if-range", "if-none-match", "if-modified-since"} & set().union(*server.requests)


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(fetcher: Fetcher) -> None:
    old = b"x" * len(CONTENT)
    with scripted(broken(30_000, old, ETag='"v0"'), whole) as server:
        assert fetcher.fetch(server.url, WANTED).read_bytes() == CONTENT
    assert server.requests[1]["if-range"] == '"v0"'


def test_without_a_version_the_checksum_tells_whether_the_parts_belong_together(
    fetcher: Fetcher,
) -> None:
    old = b"x" * len(CONTENT)

    def plain(exchange: Exchange) -> None:
        exchange.ranged(CONTENT)

    with scripted(broken(30_000, old), plain) as server:
        assert fetcher.fetch(server.url, WANTED).read_bytes() == CONTENT
    assert [r.get("range") for r in server.requests] == [None, "bytes=30000-", None]


def test_a_server_that_always_mixes_versions_is_given_up(fetcher: Fetcher) -> None:
    def mixing(exchange: Exchange) -> None:
        if "Range" in exchange.headers:
            exchange.ranged(b"y" * len(CONTENT))
        else:
            broken(30_000)(exchange)

    with scripted(mixing) as server, pytest.raises(ChecksumMismatch):
        fetcher.fetch(server.url, WANTED)
    assert len(server.requests) == 4


def test_a_range_that_is_another_than_asked_for_is_thrown_away(fetcher: Fetcher) -> None:
    def wrong(exchange: Exchange) -> None:
        exchange.reply(206, CONTENT[:10], Content_Range=f"bytes 0-9/{len(CONTENT)}")

    with scripted(broken(30_000, ETag='"v1"'), wrong, whole) as server:
        assert fetcher.fetch(server.url, WANTED).read_bytes() == CONTENT


def test_a_range_that_is_not_there_starts_again(fetcher: Fetcher) -> None:
    with scripted(broken(30_000, ETag='"v1"'), status(416), whole) as server:
        assert fetcher.fetch(server.url, WANTED).read_bytes() == CONTENT


def test_server_errors_are_tried_again_with_growing_waits(
    fetcher: Fetcher, waits: list[float]
) -> None:
    answers = [status(500), status(429, Retry_After="7"), status(503), whole]
    with scripted(*answers) as server:
        assert fetcher.fetch(server.url, WANTED).is_file()
    assert len(waits) == 3
    assert waits[1] >= 7


def test_attempts_are_bounded(fetcher: Fetcher, waits: list[float]) -> None:
    with scripted(status(503)) as server, pytest.raises(FetchFailed) as caught:
        fetcher.fetch(server.url, WANTED)
    assert len(server.requests) == 5
    assert (caught.value.url, caught.value.status) == (server.url, 503)
    assert "after 5 attempts" in str(caught.value)


def test_a_server_that_gives_a_few_bytes_at_a_time_for_ever_is_given_up(fetcher: Fetcher) -> None:
    def drip(exchange: Exchange) -> None:
        have = int(exchange.headers.get("Range", "bytes=0-")[6:-1])
        place = f"bytes {have}-{10**9 - 1}/{10**9}"
        code = 206 if have else 200
        exchange.cut_off(code, bytes(10**6), 100, ETag='"v1"', Content_Range=place)

    with scripted(drip) as server, pytest.raises(FetchFailed):
        fetcher.fetch(server.url, WANTED)
    assert len(server.requests) == 5


@pytest.mark.parametrize("code", [200, 206, 416])
def test_a_server_that_takes_back_what_it_gave_is_given_up(fetcher: Fetcher, code: int) -> None:
    half = bytes(PROGRESS_BYTES + 1)

    def gives(exchange: Exchange) -> None:
        exchange.cut_off(200, half * 4, len(half), ETag='"v1"')

    def takes_back(exchange: Exchange) -> None:
        exchange.cut_off(code, half, 1, ETag='"v2"', Content_Range="bytes 7-9/10")

    answers = [gives, takes_back] * 20
    with scripted(*answers) as server, pytest.raises(FetchFailed, match="after 5 attempts"):
        fetcher.fetch(server.url, WANTED)
    assert len(server.requests) <= 6


def test_a_refusal_is_not_tried_again(fetcher: Fetcher) -> None:
    with scripted(status(404)) as server, pytest.raises(FetchFailed, match="HTTP 404"):
        fetcher.fetch(server.url, WANTED)
    assert len(server.requests) == 1


def test_a_compressed_answer_is_refused(fetcher: Fetcher) -> None:
    with (
        scripted(status(200, Content_Encoding="gzip")) as server,
        pytest.raises(FetchFailed, match="compresses"),
    ):
        fetcher.fetch(server.url, WANTED)


@pytest.mark.parametrize("length", [True, False])
def test_more_bytes_than_allowed_are_refused(cache: ShardCache, length: bool) -> None:
    def endless(exchange: Exchange) -> None:
        if length:
            exchange.reply(200, CONTENT)
        else:
            exchange.unsized(200, CONTENT)

    small = Fetcher(cache, allow_private_hosts=True, max_shard_bytes=1000)
    with small, scripted(endless) as server, pytest.raises(ShardTooLarge, match="1,000"):
        small.fetch(server.url, WANTED)
    assert files(cache) == []


def test_a_host_that_does_not_answer_is_an_error_of_the_network(
    fetcher: Fetcher, waits: list[float]
) -> None:
    with scripted(whole) as server:
        url = server.url
    with pytest.raises(FetchFailed, match="after 5 attempts") as caught:
        fetcher.fetch(url, WANTED)
    assert caught.value.status is None
    assert len(waits) == 4


@pytest.mark.parametrize(
    "url",
    [
        "pipe:ls",
        "pipe: touch /tmp/x",
        "file:///etc/passwd",
        "/data/x.tar",
        "x.tar",
        "s3://bucket/key",
        "gs://bucket/key",
        "ftp://example.org/x.tar",
        "http://",
        "https://user:secret@example.org/x.tar",
        "",
        "http://exa mple.org/\n",
    ],
)
def test_an_address_that_is_no_plain_http_is_refused_before_anything_is_opened(
    url: str, fetcher: Fetcher, cache: ShardCache
) -> None:
    with pytest.raises(UnsafeShard) as caught:
        fetcher.fetch(url, None)
    assert caught.value.url == url
    assert not cache.root.exists()


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "127.0.0.1", "localhost", "10.0.0.1", "[::1]", "0.0.0.0"]
)
def test_hosts_inside_a_network_are_refused_unless_they_are_allowed(
    host: str, cache: ShardCache
) -> None:
    with Fetcher(cache) as public, pytest.raises(UnsafeShard):
        public.fetch(f"http://{host}/x.tar", WANTED)


def test_the_metadata_service_is_refused_even_where_private_hosts_are_allowed(
    fetcher: Fetcher,
) -> None:
    with pytest.raises(UnsafeShard):
        fetcher.fetch("http://169.254.169.254/latest/meta-data", WANTED)


@pytest.mark.parametrize("target", ["http://169.254.169.254/", "file:///etc/passwd"])
def test_a_redirect_is_checked_like_the_address_itself(target: str, fetcher: Fetcher) -> None:
    with (
        scripted(status(302, Location=target)) as server,
        pytest.raises((UnsafeShard, FetchFailed)),
    ):
        fetcher.fetch(server.url, WANTED)


def test_a_redirect_to_a_shard_is_followed(fetcher: Fetcher) -> None:
    with scripted(whole) as there, scripted(status(307, Location=there.url)) as here:
        assert fetcher.fetch(here.url, WANTED).read_bytes() == CONTENT


def test_without_a_checksum_the_copy_is_used_only_while_the_server_says_so(
    fetcher: Fetcher, cache: ShardCache
) -> None:
    def current(exchange: Exchange) -> None:
        if exchange.headers.get("If-None-Match") == '"v1"':
            exchange.reply(304)
        else:
            exchange.reply(200, CONTENT, ETag='"v1"')

    def newer(exchange: Exchange) -> None:
        exchange.reply(200, b"new", ETag='"v2"')

    with scripted(current, current, newer) as server:
        first = fetcher.fetch(server.url, None)
        assert fetcher.fetch(server.url, None) == first
        assert fetcher.fetch(server.url, None).read_bytes() == b"new"
    assert first.read_bytes() == CONTENT
    assert first == cache.path(WANTED)


def test_without_checksum_and_version_a_broken_download_starts_again(fetcher: Fetcher) -> None:
    with scripted(broken(30_000), whole) as server:
        assert fetcher.fetch(server.url, None).read_bytes() == CONTENT
    assert "range" not in server.requests[1]


def test_progress_tells_bytes_done_and_in_all(cache: ShardCache) -> None:
    seen: list[Progress] = []
    fetcher = Fetcher(cache, allow_private_hosts=True, progress=seen.append)
    with fetcher, scripted(whole) as server:
        fetcher.fetch(server.url, WANTED)
    assert seen[-1] == Progress(server.url, len(CONTENT), len(CONTENT))
    assert [p.done for p in seen] == sorted(p.done for p in seen)


def test_threads_and_processes_that_want_one_shard_fetch_it_once(cache: ShardCache) -> None:
    released = threading.Event()

    def slow(exchange: Exchange) -> None:
        released.wait(5)
        whole(exchange)

    fetchers = [Fetcher(cache, allow_private_hosts=True) for _ in range(4)]
    with scripted(slow) as server, ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(f.fetch, server.url, WANTED) for f in fetchers]
        released.set()
        paths = {future.result() for future in futures}
    assert len(paths) == len(server.requests) == 1
    for fetcher in fetchers:
        fetcher.close()


def test_a_cache_that_cannot_be_written_is_an_error_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    fetcher = Fetcher(ShardCache(tmp_path / "file"), allow_private_hosts=True)
    with fetcher, scripted(whole) as server, pytest.raises(CacheError, match="cache_dir"):
        fetcher.fetch(server.url, WANTED)


def test_checksums_are_read_in_the_spellings_that_occur() -> None:
    for name in ("sha256", "SHA-256", "Sha256", " sha256 "):
        assert expected(Checksum(name, WANTED.digest.upper()), "u") == WANTED
    assert expected(Checksum("sha3-512", "0" * 128), "u") == Expected("sha3_512", "0" * 128)
    assert expected(None, "u") is None


@pytest.mark.parametrize(
    "algorithm", ["md5", "sha1", "blake3", "crc32", "", "../../x", "shake_128"]
)
def test_an_algorithm_that_proves_nothing_or_is_unknown_is_refused(algorithm: str) -> None:
    with pytest.raises(Unsupported, match="one of sha256"):
        expected(Checksum(algorithm, "0" * 64), "u")


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "g" * 64, "../" * 21 + "a"])
def test_a_digest_that_is_none_is_refused(digest: str) -> None:
    with pytest.raises(BadChecksum, match="no sha256 digest"):
        expected(Checksum("sha256", digest), "u")
