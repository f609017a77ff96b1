"""Checksums that a record states, and the hashes that they are compared with."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from atdex.errors import BadChecksum, Unsupported, shown

if TYPE_CHECKING:
    from hashlib import _Hash

    from atdex_lexicons.model import Checksum

HEX_LENGTHS: Final = {
    "sha256": 64,
    "sha384": 96,
    "sha512": 128,
    "sha3_256": 64,
    "sha3_512": 128,
    "blake2b": 128,
    "blake2s": 64,
}
"""Algorithm to the length of its digest in hex. MD5 and SHA-1 are left out on purpose: two files
with the same digest can be made, so a match would not show that a shard is the publisher's."""


class Expected(NamedTuple):
    """The digest that a shard must have: a name of hashlib, and lower-case hex.

    Both are safe to use in a file name.
    """

    algorithm: str
    digest: str

    def hasher(self) -> _Hash:
        return hashlib.new(self.algorithm)


def expected(checksum: Checksum | None, shard: str) -> Expected | None:
    """What `checksum` asks for; None where the record has none.

    Raises Unsupported for an algorithm that is not read, BadChecksum for a digest that is none.
    """
    if checksum is None:
        return None
    algorithm = checksum.algorithm.strip().lower()
    if algorithm not in HEX_LENGTHS:
        algorithm = algorithm.replace("sha3-", "sha3_").replace("sha-", "sha")
    if algorithm not in HEX_LENGTHS:
        raise Unsupported(
            f"the checksum algorithm {shown(checksum.algorithm)} of {shown(shard)}",
            f"a checksum is one of {', '.join(HEX_LENGTHS)}",
        )
    digest = checksum.digest.strip().lower()
    if len(digest) != HEX_LENGTHS[algorithm] or digest.strip("0123456789abcdef"):
        raise BadChecksum(
            shard, f"{shown(checksum.digest)} is no {algorithm} digest in hexadecimal"
        )
    return Expected(algorithm, digest)
