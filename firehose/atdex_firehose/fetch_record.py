"""One record from its publisher's PDS, with the proof that it is in the repo now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from libipld import encode_cid

from atdex_firehose.errors import BadSignature, InvalidIdentity
from atdex_firehose.events import Identity
from atdex_firehose.evidence import check_signature
from atdex_firehose.fetch_repo import RepoHosts
from atdex_firehose.identity import Identities
from atdex_firehose.record_proof import RecordProof, read_proof
from atdex_firehose.verify import check_rev


@dataclass(frozen=True, slots=True)
class FetchedRecord:
    """A record as its repo holds it at `rev`, the latest commit that the PDS has shown.

    `raw` is its DAG-CBOR as it was signed, `cid` the text form of its CID.
    """

    identity: Identity
    rev: str
    cid: str
    raw: bytes


async def fetch_record(
    hosts: RepoHosts,
    identities: Identities,
    did: str,
    path: str,
    *,
    clock: Callable[[], float] = time.time,
) -> FetchedRecord | None:
    """The record at `path` (`collection/rkey`), None where the repo has none there.

    Verified: the identity, the signature of the commit (with a renewed key, once, where it
    fails), the way through the tree, the hash of the record. Not known is whether the PDS keeps a
    newer commit back. Raises FetchFailed (NotServed: the PDS does not have the repo, or shows no
    proof that the record is absent), Rejected, IdentityUnavailable.
    """
    identity = await identities.resolve(did)
    if identity.pds is None:
        raise InvalidIdentity(did, "the DID document has no usable #atproto_pds service")
    car = await hosts.get_record(identity.pds, did, path)
    proof = await asyncio.to_thread(read_proof, car, did, path)
    check_rev(did, proof.commit.rev, None, clock())
    try:
        check_signature(proof.commit, identity)
    except BadSignature:
        identity = await identities.refresh(did)
        check_signature(proof.commit, identity)
    return _fetched(identity, proof)


def _fetched(identity: Identity, proof: RecordProof) -> FetchedRecord | None:
    if proof.cid is None or proof.raw is None:
        return None
    return FetchedRecord(identity, proof.commit.rev, encode_cid(proof.cid), proof.raw)
