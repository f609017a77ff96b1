from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atdex.errors import BadShard, Unsupported
from atdex.tar import BLOCK, SampleIndex, index_samples
from tests.sdk.shards import SHARDS, fixture, tar_bytes


def found(data: bytes) -> dict[str, bytes]:
    index = index_samples(data, "s.tar")
    return {key: data[offset : offset + size] for key, offset, size in zip(*index, strict=True)}


def test_the_samples_of_the_fixture_are_where_another_implementation_found_them() -> None:
    places = [
        (shard.name, *place)
        for shard in SHARDS
        for place in zip(*index_samples(shard.read_bytes(), shard.name), strict=True)
    ]
    assert places == [
        (e["shard"], e["key"], e["data_offset"], e["size"]) for e in fixture("expected.json")
    ]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_all_three_formats_of_the_standard_library_are_read(form: int) -> None:
    long = "/".join(["folder" * 5] * 4)  # beyond 100 bytes: prefix, long name, or PAX path
    members = [("a.msgpack", b"1"), (f"{long}/b.msgpack", b"22"), ("c/d.msgpack", b"")]
    data = tar_bytes(members, form=form)
    assert found(data) == {"a": b"1", f"{long}/b": b"22", "c/d": b""}


@given(
    members=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\0./"), min_size=1).filter(
                lambda name: not (name.startswith("__") and name.endswith("__"))
            ),
            st.binary(max_size=1500),
        ),
        max_size=8,
        unique_by=lambda member: member[0],
    )
)
@settings(max_examples=60, deadline=None)
def test_whatever_tarfile_writes_is_found(members: list[tuple[str, bytes]]) -> None:
    data = tar_bytes([(f"{name}.msgpack", content) for name, content in members])
    assert found(data) == dict(members)


def test_a_global_pax_header_and_a_pax_size_are_honoured() -> None:
    pax = b"16 path=g.msgpac"  # wrong on purpose below; the real one is built by length
    record = b"19 path=gg.msgpack\n"
    assert len(record) == 19
    inner = tar_bytes([("x.msgpack", b"data")], form=tarfile.USTAR_FORMAT)
    data = special(b"g", record) + inner
    assert found(data) == {"gg": b"data"}
    with pytest.raises(BadShard, match="not as long as it says"):
        found(special(b"g", pax) + inner)
    assert found(special(b"x", b"9 size=2\n") + inner)["x"] == b"da"


def test_headers_that_do_not_matter_take_no_memory() -> None:
    inner = tar_bytes([("x.msgpack", b"data")], form=tarfile.USTAR_FORMAT)
    headers = []
    for i in range(200):
        record = b"k%03d=%s\n" % (i, b"v" * 60_000)
        headers.append(special(b"g", b"%d %s" % (len(record) + 6, record)))
    data = b"".join(headers) + inner
    tracemalloc.start()
    try:
        assert found(data) == {"x": b"data"}
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(data) > 12_000_000 > 4 * peak


@pytest.mark.parametrize("kind", [b"x", b"g"])
def test_a_sparse_member_that_a_pax_header_announces_is_refused(kind: bytes) -> None:
    inner = tar_bytes([("x.msgpack", b"data")], form=tarfile.USTAR_FORMAT)
    with pytest.raises(BadShard, match="sparse"):
        found(special(kind, b"22 GNU.sparse.major=1\n") + inner)


def special(kind: bytes, content: bytes, *, name: bytes = b"special") -> bytes:
    """One member of any type, with a right checksum."""
    info = tarfile.TarInfo(name.decode())
    info.type = kind
    info.size = len(content)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % BLOCK)


END = bytes(2 * BLOCK)


def test_directories_links_devices_and_hidden_members_are_passed_over() -> None:
    data = b"".join(
        [
            special(tarfile.DIRTYPE, b"", name=b"d.msgpack"),
            special(tarfile.SYMTYPE, b"", name=b"l.msgpack"),
            special(tarfile.LNKTYPE, b"", name=b"h.msgpack"),
            special(tarfile.CHRTYPE, b"", name=b"c.msgpack"),
            special(tarfile.FIFOTYPE, b"", name=b"f.msgpack"),
            special(tarfile.REGTYPE, b"x", name=b"._a.msgpack"),
            special(tarfile.REGTYPE, b"x", name=b"__meta__.json"),
            special(tarfile.REGTYPE, b"x", name=b"README"),
            special(tarfile.REGTYPE, b"y", name=b"a.msgpack"),
            END,
        ]
    )
    assert found(data) == {"a": b"y"}


def test_sizes_in_base_256_are_read() -> None:
    header = bytearray(special(tarfile.REGTYPE, b"", name=b"a.msgpack"))
    header[124:136] = b"\x80" + (3).to_bytes(11, "big")
    data = resummed(header) + b"abc" + bytes(BLOCK - 3) + END
    assert found(data) == {"a": b"abc"}
    header[124] = 0xFF
    with pytest.raises(BadShard, match="negative number"):
        found(resummed(header) + END)


@pytest.mark.parametrize("size", [b"-0000002000", b"-1", b"+1", b"0o1", b"0_1", b"1 1", b"9"])
def test_a_size_that_is_no_octal_number_is_an_error_and_never_leads_backwards(size: bytes) -> None:
    header = bytearray(special(tarfile.REGTYPE, b"", name=b"b.msgpack"))
    header[124:136] = size.ljust(12, b"\0")
    with pytest.raises(BadShard, match="no tar header"):
        found(special(tarfile.REGTYPE, b"x", name=b"a.msgpack") + resummed(header) + END)


def resummed(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header[:BLOCK]):06o}\0 ".encode()
    return bytes(header)


def test_checksums_of_signed_bytes_are_accepted_as_old_tars_wrote_them() -> None:
    header = bytearray(special(tarfile.REGTYPE, b"", name="é.msgpack".encode()))
    header[148:156] = b" " * 8
    total = sum(byte - 256 if byte > 127 else byte for byte in header)
    header[148:156] = f"{total:06o}\0 ".encode()
    assert list(found(bytes(header) + END)) == ["é"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"<html>no</html>", "cut short"),
        (b"<html>no</html>" * 100, "checksum of this tar header"),
        (tar_bytes([("a.msgpack", b"x" * 600)])[: BLOCK + 100], "ends after the file"),
        (tar_bytes([("a.msgpack", b"x")])[: 2 * BLOCK], "without an end mark"),
        (special(b"S", b"", name=b"a.msgpack") + END, "sparse"),
        (special(b"Z", b"", name=b"a.msgpack") + END, "unknown type 'Z'"),
        (special(b"x", b"no length, path=x\n") + END, "without its length"),
        (special(b"x", b"x" * 70_000) + END, "extended header of 70000 bytes"),
        (special(b"x", b"10 size=x\n") + special(b"0", b"", name=b"a.msgpack") + END, "no number"),
    ],
)
def test_what_is_no_readable_tar_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadShard, match=reason) as caught:
        found(data)
    assert caught.value.shard == "s.tar"


def test_a_damaged_header_is_named_by_its_own_place() -> None:
    data = bytearray(
        tar_bytes([("a.msgpack", b"1"), ("b.msgpack", b"2")], form=tarfile.USTAR_FORMAT)
    )
    data[2 * BLOCK + 3] ^= 1
    with pytest.raises(BadShard, match="checksum") as caught:
        found(bytes(data))
    assert caught.value.offset == 2 * BLOCK


@given(at=st.integers(0, 3 * BLOCK - 1), value=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_is_an_error_or_leaves_every_sample_inside_the_file(
    at: int, value: int
) -> None:
    data = bytearray(tar_bytes([("a.msgpack", b"1" * 300), ("b.msgpack", b"2")]))
    data[at] = value
    try:
        index: SampleIndex = index_samples(bytes(data), "s.tar")
    except (BadShard, Unsupported) as error:
        assert str(error)
    else:
        assert all(o + s <= len(data) for _, o, s in zip(*index, strict=True))


@given(data=st.binary(max_size=2048))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_a_clear_error(data: bytes) -> None:
    with pytest.raises((BadShard, Unsupported)):
        index_samples(data + b"x", "s.tar")


def test_members_of_another_kind_are_refused_by_name() -> None:
    with pytest.raises(Unsupported, match=r"members of the kind \.jpg .*0001\.jpg"):
        found(tar_bytes([("0001.jpg", b""), ("0001.cls", b"")]))


def test_a_compressed_shard_is_refused_by_the_name_of_its_compression() -> None:
    with pytest.raises(Unsupported, match="gzip"):
        found(gzip.compress(tar_bytes([("a.msgpack", b"1")])))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz"):
        pass
    with pytest.raises(Unsupported, match="xz"):
        found(out.getvalue())
