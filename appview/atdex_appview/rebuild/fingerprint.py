"""What a record becomes depends on the documents and on the code that reads it, in one number."""

from __future__ import annotations

from hashlib import blake2b
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

DIGEST_BYTES: Final = 16

READ_BY: Final = ("atdex_lexicons",)
"""The packages that decide whether a record is valid and what it says."""

SUFFIXES: Final = (".py", ".json")


def fingerprint_of(*extra: bytes) -> str:
    """Of the documents and families as they are installed, and of `extra`.

    Any change of those files makes it another one, one that changes nothing included: records are
    then read once more than needed.
    """
    digest = blake2b(digest_size=DIGEST_BYTES)
    for package in READ_BY:
        for name, content in sorted(_files(resources.files(package), package)):
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
    for part in extra:
        digest.update(f"\0{len(part)}\0".encode())
        digest.update(part)
    return digest.hexdigest()


def _files(folder: Traversable, path: str) -> list[tuple[str, bytes]]:
    found = []
    for entry in folder.iterdir():
        name = f"{path}/{entry.name}"
        if entry.is_dir():
            if entry.name not in ("examples", "__pycache__"):
                found += _files(entry, name)
        elif entry.name.endswith(SUFFIXES):
            found.append((name, entry.read_bytes()))
    return found
