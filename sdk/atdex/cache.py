"""Shards on this machine, by what is in them.

    ROOT/sha256/f9/f96c0b….tar      a shard, named by its digest, complete and never changed
    ROOT/sha256/f9/f96c0b….index    where its samples are; made again whenever it is missing
    ROOT/partial/<key>.part         a download that has not ended, with `.from` beside it
    ROOT/partial/<key>.lock         held by whoever downloads it
    ROOT/seen/<key>                 for a URL without checksum: the digest last found there

Guarantee: a file under its digest has that digest. It is written elsewhere, hashed while it
arrives, synced to disk, and renamed into place; a file whose digest differs never gets there.
Any number of processes may share a cache; removing any of its files is safe at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import msgspec

from atdex.checksum import Expected

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

INDEX_SUFFIX: Final = ".index"


class Validators(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a server recognises the version of a file that it sent: `ETag` and `Last-Modified`."""

    etag: str | None = None
    modified: str | None = None

    @classmethod
    def told(cls, etag: str | None, modified: str | None) -> Self:
        """What a server said, as far as it can be said back: headers that are sent are ASCII."""
        plain = (
            text if text and text.isascii() and text.isprintable() else None
            for text in (etag, modified)
        )
        return cls(*plain)

    @property
    def strong(self) -> str | None:
        """What `If-Range` may carry: a strong ETag, or else the date (RFC 9110, 13.1.5)."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.modified


class Seen(msgspec.Struct, frozen=True):
    """What was found at a URL whose record states no checksum."""

    digest: str
    validators: Validators


class ShardCache:
    """A folder of shards. Made when it is first written to."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, of: Expected) -> Path:
        """Where the shard with this digest is, or would be."""
        return self.root / of.algorithm / of.digest[:2] / f"{of.digest}.tar"

    def find(self, of: Expected) -> Path | None:
        """The shard with this digest, None if it is not here."""
        path = self.path(of)
        return path if path.is_file() else None

    def partial(self, key: str) -> Partial:
        """The unfinished download named `key` (any text)."""
        folder = self.root / "partial"
        folder.mkdir(parents=True, exist_ok=True)
        return Partial(folder / f"{_hashed(key)}.part")

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold `key` against every other thread and process; waits for it.

        The operating system lets go when the holder dies, so the wait is never for the dead.
        """
        folder = self.root / "partial"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{_hashed(key)}.lock").open("a+b") as file:
            if sys.platform == "win32":
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
            else:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX)
            yield

    def keep(self, partial: Partial, digest: Expected) -> Path:
        """Move a complete download, whose digest the caller has computed, to its place."""
        path = self.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.path.replace(path)
        _sync_folder(path.parent)
        partial.discard()
        return path

    def seen(self, url: str) -> Seen | None:
        """What was last found at a URL without checksum, where that file is still here."""
        try:
            seen = msgspec.json.decode((self._seen_path(url)).read_bytes(), type=Seen)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        if len(seen.digest) != 64 or seen.digest.strip("0123456789abcdef"):
            return None
        return seen if self.find(Expected("sha256", seen.digest)) else None

    def remember(self, url: str, seen: Seen) -> None:
        write_whole(self._seen_path(url), msgspec.json.encode(seen))

    def _seen_path(self, url: str) -> Path:
        return self.root / "seen" / _hashed(url)


class Partial:
    """A download that has not ended: its bytes, and how the server recognises their version."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._from = path.with_suffix(".from")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def validators(self) -> Validators:
        try:
            return msgspec.json.decode(self._from.read_bytes(), type=Validators)
        except (FileNotFoundError, msgspec.DecodeError):
            return Validators()

    def begin(self, validators: Validators) -> None:
        """Forget the bytes that are here; those of the version `validators` come next."""
        self.discard()
        self._from.write_bytes(msgspec.json.encode(validators))

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._from.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file so that a reader sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.new")
    part.write_bytes(content)
    part.replace(path)


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return  # a folder cannot be opened there; the rename is in the journal
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
