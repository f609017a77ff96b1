from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdex_lexicons import AtUri, Cid, InvalidSyntax
from atdex_lexicons.cid import DAG_CBOR, RAW, is_link_text
from atdex_lexicons.syntax import FORMATS, is_datetime, is_tid
from atdex_lexicons.tid import next_tid, tid_from_micros, tid_micros
from tests.lexicons.strategies import cids

TEXT = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"


@given(cids)
def test_a_cid_survives_its_text_and_its_bytes(cid: Cid) -> None:
    assert Cid.parse(str(cid)) == cid == Cid.from_bytes(bytes(cid))
    assert hash(Cid.parse(str(cid))) == hash(cid)
    assert is_link_text(str(cid)) and cid.is_blessed
    assert len(cid.digest) == 32


def test_a_cid_says_what_it_links_to() -> None:
    cid = Cid.parse(TEXT)
    assert (cid.codec, str(cid), repr(cid)) == (DAG_CBOR, TEXT, f"Cid({TEXT!r})")
    assert Cid.of_raw(b"").codec == RAW
    assert Cid.of_cbor(b"\xa0") != Cid.of_raw(b"\xa0")
    assert cid != TEXT
    assert sorted([Cid.of_cbor(b""), Cid.of_raw(b"")])[0].codec == RAW


def test_a_cid_of_another_codec_or_hash_is_held_but_not_blessed() -> None:
    dag_pb = Cid.parse("bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi")
    identity = Cid(b"\x01\x55\x00\x03abc")
    sha512 = Cid(b"\x01\x80\x24\x13\x40" + bytes(64))
    assert (dag_pb.codec, identity.codec, sha512.codec) == (0x70, 0x55, 0x1200)
    assert (identity.digest, len(sha512.digest)) == (b"abc", 64)
    for cid in (dag_pb, identity, sha512):
        assert not cid.is_blessed
        assert Cid.parse(str(cid)) == cid
        assert is_link_text(str(cid))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "ba",
        ".",
        TEXT[:-1],
        TEXT + "a",
        TEXT[:-1] + "b",
        TEXT.upper(),
        f" {TEXT}",
        f"{TEXT}\n",
        "Qm" + "a" * 44,
        "zdj7WWeQ43G6JJvLWQWZpyHuAMq6uYWRjkBXFad11vE2LHhQ7",
        "b" + "a" * 1000000,
        "é",
        "b\udc80",
    ],
)
def test_other_text_is_no_link(text: str) -> None:
    assert not is_link_text(text)
    with pytest.raises(InvalidSyntax) as caught:
        Cid.parse(text)
    assert len(str(caught.value)) < 300


@given(st.binary(max_size=120))
def test_any_bytes_are_a_cid_or_invalid_syntax(raw: bytes) -> None:
    for candidate in (raw, b"\x01" + raw, b"\x01\x71" + raw, b"\x01\x71\x12" + raw):
        try:
            cid = Cid(candidate)
        except InvalidSyntax:
            continue
        assert Cid.parse(str(cid)) == cid


def test_tids_grow_whatever_the_clock_does(monkeypatch: pytest.MonkeyPatch) -> None:
    first = next_tid()
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    later = [next_tid() for _ in range(100)]
    assert [first, *later] == sorted({first, *later})


def test_tids_of_many_threads_are_distinct() -> None:
    barrier = threading.Barrier(8)

    def mint(_: int) -> list[str]:
        barrier.wait()
        return [next_tid() for _ in range(500)]

    with ThreadPoolExecutor(8) as pool:
        minted = [tid for tids in pool.map(mint, range(8)) for tid in tids]
    assert len(set(minted)) == len(minted)
    assert all(map(is_tid, minted))


@given(st.integers(0, (1 << 53) - 1), st.integers(0, 1023))
def test_a_tid_holds_its_time(micros: int, clock: int) -> None:
    tid = tid_from_micros(micros, clock)
    assert is_tid(tid)
    assert tid_micros(tid) == micros


def test_a_tid_is_a_time_near_now() -> None:
    assert abs(tid_micros(tid_from_micros(time.time_ns() // 1000)) / 1e6 - time.time()) < 60
    with pytest.raises(InvalidSyntax):
        tid_micros("not a tid")


@pytest.mark.parametrize(
    "uri",
    [
        AtUri("did:plc:abc"),
        AtUri("a.example", "com.example.a"),
        AtUri("did:web:a.example", "com.example.a", "self"),
    ],
)
def test_an_at_uri_is_its_parts(uri: AtUri) -> None:
    assert AtUri.parse(str(uri)) == uri


@pytest.mark.parametrize(
    "text", ["", "at://", "at://a.example/", "https://a.example", "at://é.com"]
)
def test_what_is_no_at_uri_is_invalid_syntax(text: str) -> None:
    with pytest.raises(InvalidSyntax, match="at-uri"):
        AtUri.parse(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_python_writes_as_iso_8601_is_a_datetime(moment: datetime) -> None:
    assert is_datetime(moment.isoformat())
    assert is_datetime(moment.isoformat().replace("+00:00", "Z"))


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("2024-02-29T00:00:00Z", True),
        ("2023-02-29T00:00:00Z", False),
        ("1900-02-29T00:00:00Z", False),
        ("2000-02-29T00:00:00Z", True),
        ("2026-04-31T00:00:00Z", False),
        ("2026-12-31T23:59:60Z", False),
        ("2026-12-31T24:00:00Z", False),
        ("2026-12-31T00:00:00-00:00", False),
        ("2026-12-31T00:00:00+24:00", False),
        ("0000-01-01T00:30:00+00:30", True),
        ("0000-01-01T00:29:00+00:30", False),
        ("2026-12-31T00:00:00." + "1" * 100 + "Z", False),
        ("2026-12-31T00:00:00Z\n", False),
        ("\uff12026-12-31T00:00:00Z", False),
    ],
)
def test_a_datetime_must_exist(text: str, good: bool) -> None:
    assert is_datetime(text) is good


HOSTILE = ["a" * 1_000_000, "a." * 500_000, "a-" * 500_000, "did:a:" + "%" * 1_000_000]
HOSTILE += ["at://" * 200_000, "1" * 1_000_000, "a-b" * 333_333, "https:" + "a" * 1_000_000, "\0"]
HOSTILE += ["en" + "-aaaaa" * 100_000, "é" * 500_000, "\ud800", "x-" * 500_000, "-" * 1_000_000]


@pytest.mark.parametrize("name", FORMATS)
def test_a_megabyte_of_hostile_text_is_judged_in_no_time(name: str) -> None:
    started = time.process_time()
    for text in HOSTILE:
        assert not FORMATS[name](text)
    assert time.process_time() - started < 1.0


@given(st.text(max_size=300))
def test_formats_never_raise(text: str) -> None:
    for accepts in FORMATS.values():
        assert accepts(text) in (True, False)
