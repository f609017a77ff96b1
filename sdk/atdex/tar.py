"""Finding the samples in a tar file, without unpacking it.

`index_samples` walks the headers once and returns where each sample's bytes are; reading a sample
is then one slice of the mapped file. Understood: ustar (names of up to 255 bytes), PAX headers
(`path` and `size`, per member and global), GNU long names, base-256 sizes. Directories, links and
devices hold no data and are passed over. Sparse members and everything that does not add up are
errors: a header whose checksum is wrong, a member that ends after the file, a missing end mark.

A sample is one member `{key}.msgpack`; the key is the name up to the first dot of its last part,
as WebDataset has it. (Sources: POSIX pax, the GNU tar manual "Basic Tar Format", WebDataset.)
"""

from __future__ import annotations

import re
from mmap import mmap
from typing import Final, NamedTuple

import numpy as np

from atdex.errors import BadShard, Unsupported, shown

BLOCK: Final = 512
"""Bytes of a tar block: headers are one, data is padded to a multiple."""

MAX_NAME_BYTES: Final = 64 * 1024
"""Bytes of one PAX header or GNU long name. Real ones take a few hundred; they are held in
memory while the member after them is read."""

SAMPLE_SUFFIX: Final = "msgpack"

_END: Final = bytes(BLOCK)
_OCTAL: Final = 8 ** np.arange(5, -1, -1, dtype=np.int64)
_CHECK_ROWS: Final = 4096  # headers whose checksums are computed at once: 2 MB
_REGULAR: Final = b"0\x007"
_PLAIN: Final = re.compile(
    # a regular member in no folder, named key.msgpack in full, its size in octal
    rb"(?=.{124}([0-7]{11})[\0 ].{20}[0\0].{188}\0)([^/.\0_][^/.\0]*)\.msgpack\0",
    re.DOTALL,
)
_PAX_KEYS: Final = (b"path", b"size")
_SPARSE: Final = "GNU.sparse"
_matters: Final = re.compile(rb"path=|size=|GNU\.sparse").search
_WITHOUT_DATA: Final = b"123456"  # links, devices, directories, FIFOs


class SampleIndex(NamedTuple):
    """Where the samples of one shard are, in the order of the file."""

    keys: list[str]
    offsets: list[int]
    sizes: list[int]


def index_samples(data: mmap | bytes, shard: str) -> SampleIndex:
    """The samples of the tar file in `data`; `shard` names it in errors.

    Raises BadShard, or Unsupported for members that are no msgpack samples.
    """
    headers: list[int] = []
    try:
        index = _walk(data, shard, headers)
    except (BadShard, Unsupported):
        # A damaged header often shows first as nonsense that it leads to: name the damage.
        _verify_headers(data, headers, shard)
        raise
    _verify_headers(data, headers, shard)
    return index


def _walk(data: mmap | bytes, shard: str, headers: list[int]) -> SampleIndex:
    index = SampleIndex([], [], [])
    length = len(data)
    if length == 0:
        raise BadShard(shard, 0, "the file is empty")
    _refuse_compressed(data, shard)
    at = 0
    global_pax: dict[str, bytes] = {}
    pax: dict[str, bytes] = {}
    long_name: bytes | None = None
    plain = _PLAIN.match
    while True:
        header = data[at : at + BLOCK]
        simple = None if pax or global_pax or long_name is not None else plain(header)
        if simple is not None:  # nearly all there is: the long way below would give the same
            size = int(simple[1], 8)
            body = at + BLOCK
            following = body + ((size + BLOCK - 1) & -BLOCK)
            if following <= length:
                headers.append(at)
                index.keys.append(simple[2].decode("utf-8", "replace"))
                index.offsets.append(body)
                index.sizes.append(size)
                at = following
                continue
        if header == _END:
            return index
        if len(header) < BLOCK:
            raise BadShard(shard, at, "the file ends without an end mark: it was cut short")
        headers.append(at)
        kind = header[156]
        size = _number(header, 124, 136, shard, at)
        special = kind in b"xgXLK"
        if not special and (override := pax.get("size", global_pax.get("size"))) is not None:
            size = _decimal(override, shard, at)
        body = at + BLOCK
        if kind in _WITHOUT_DATA:
            size = 0  # whatever the field says: no data blocks follow
        if body + size > length:
            raise BadShard(
                shard, at, f"a member of {size} bytes ends after the file: it was cut short"
            )
        following = body + (size + BLOCK - 1) // BLOCK * BLOCK
        if special:
            if size > MAX_NAME_BYTES:
                raise BadShard(
                    shard, at, f"an extended header of {size} bytes, more than {MAX_NAME_BYTES}"
                )
            text = data[body : body + size]
            if kind == ord("g"):
                global_pax.update(_pax(text, shard, at))
            elif kind == ord("L"):
                long_name = text.partition(b"\0")[0]
            elif kind != ord("K"):
                # Most say the time alone, before every member: those are not taken apart.
                pax = _pax(text, shard, at) if _matters(text) else {}
            at = following
            continue
        if kind == ord("S") or _SPARSE in pax or _SPARSE in global_pax:
            raise BadShard(shard, at, "a sparse member: write the shard without --sparse")
        if kind in _REGULAR:
            raw = pax.get("path", global_pax.get("path", long_name))
            name = (_ustar_name(header) if raw is None else raw).decode("utf-8", "replace")
            key = _sample_key(name)
            if key is not None:
                index.keys.append(key)
                index.offsets.append(body)
                index.sizes.append(size)
        elif kind not in _WITHOUT_DATA:
            raise BadShard(shard, at, f"a member of the unknown type {chr(kind)!r}")
        pax = {}
        long_name = None
        at = following


def _sample_key(name: str) -> str | None:
    """The key of a sample; None for members that WebDataset passes over too."""
    folder, _, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    if not stem or not dot or (stem.startswith("__") and stem.endswith("__")):
        return None
    if suffix != SAMPLE_SUFFIX:
        raise Unsupported(
            f"a shard with members of the kind .{suffix[:40]} ({shown(name)})",
            "only samples stored as one .msgpack member each can be loaded",
        )
    return f"{folder}/{stem}" if folder else stem


def _ustar_name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    if header[257:263] == b"ustar\0":  # GNU's own format keeps times where the prefix would be
        prefix = header[345:500].partition(b"\0")[0]
        if prefix:
            return prefix + b"/" + name
    return name


def _number(header: bytes, start: int, stop: int, shard: str, at: int) -> int:
    """A numeric field: octal text, or base-256 where the first bit is set."""
    if header[start] & 0x80:
        if header[start] & 0x40:
            raise BadShard(shard, at, "a negative number in a header")
        return int.from_bytes(bytes([header[start] & 0x3F]) + header[start + 1 : stop], "big")
    text = header[start:stop].strip(b"\0 ")
    # Digits alone: int() would take a sign too, and a negative size leads the walk backwards.
    if text.strip(b"01234567"):
        raise BadShard(shard, at, "this is no tar header")
    return int(text or b"0", 8)


def _decimal(text: bytes, shard: str, at: int) -> int:
    if not text.isdigit() or len(text) > 19:
        raise BadShard(shard, at, f"a PAX size that is no number: {shown(text)}")
    return int(text)


def _pax(text: bytes, shard: str, at: int) -> dict[str, bytes]:
    """The records `length key=value\\n` of an extended header, those that matter here."""
    records: dict[str, bytes] = {}
    start = 0
    while start < len(text):
        if text[start] == 0:
            break  # some writers pad with NUL
        space = text.find(b" ", start, start + 20)
        digits = text[start:space] if space > 0 else b""
        if not digits.isdigit():
            raise BadShard(shard, at, "a PAX record without its length")
        end = start + int(digits)
        key, equals, value = text[space + 1 : end - 1].partition(b"=")
        if not equals or end > len(text) or text[end - 1 : end] != b"\n":
            raise BadShard(shard, at, "a PAX record that is not as long as it says")
        if key.startswith(b"GNU.sparse."):
            records[_SPARSE] = value
        elif key in _PAX_KEYS:  # of a global header, what is kept is kept for the whole file
            records[key.decode()] = value
        start = end
    return records


def _refuse_compressed(data: mmap | bytes, shard: str) -> None:
    for magic, name in (
        (b"\x1f\x8b", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ", "xz"),
    ):
        if data[: len(magic)] == magic:
            raise Unsupported(
                f"a shard compressed with {name} ({shown(shard)})",
                "shards are read in place, so publish the plain .tar",
            )


def _verify_headers(data: mmap | bytes, headers: list[int], shard: str) -> None:
    """Compare the checksum of every header walked. Raises BadShard at the first that is wrong."""
    if not headers:
        return
    blocks = np.frombuffer(data, np.uint8, len(data) // BLOCK * BLOCK).reshape(-1, BLOCK)
    for first in range(0, len(headers), _CHECK_ROWS):
        some = headers[first : first + _CHECK_ROWS]
        rows = blocks[np.array(some, np.int64) // BLOCK]
        digits = rows[:, 148:154].astype(np.int64) - ord("0")
        rows[:, 148:156] = 0x20  # the field counts as spaces in its own sum
        sums = rows.sum(axis=1, dtype=np.int64)
        # Six octal digits are what everybody writes; whatever else is there is read one by one.
        usual = ((digits >= 0) & (digits < 8)).all(axis=1) & (digits @ _OCTAL == sums)
        for i in np.flatnonzero(~usual).tolist():
            at, total = some[i], int(sums[i])
            stored = _checksum_field(data[at + 148 : at + 156])
            if stored != total and stored != _signed(data, at):
                raise BadShard(shard, at, "the checksum of this tar header is wrong")


def _checksum_field(field: bytes) -> int:
    text = field.strip(b"\0 ")
    return int(text, 8) if text and not text.strip(b"01234567") else -1


def _signed(data: mmap | bytes, at: int) -> int:
    """The sum that tars of old computed, with signed bytes."""
    header = np.frombuffer(data[at : at + BLOCK], np.int8)
    return int(header.sum(dtype=np.int64) - header[148:156].sum(dtype=np.int64)) + 8 * 0x20
