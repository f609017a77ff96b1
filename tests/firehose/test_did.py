from __future__ import annotations

import json
from typing import Any

import libipld
import pytest

from atdex_firehose.crypto import parse_multikey
from atdex_firehose.did import document_url, parse_document
from atdex_firehose.errors import InvalidIdentity
from tests.support.repo import K256Key, P256Key, did_document, plc_did

DID = plc_did("alice")
KEY = K256Key()
PLC = "https://plc.test"


def parse(document: object, did: str = DID) -> Any:
    return parse_document(did, json.dumps(document).encode())


def test_key_pds_and_handle_are_read() -> None:
    identity = parse(did_document(DID, KEY, pds="https://pds.test", handle="Alice.Test"))
    assert identity.did == DID
    assert identity.signing_key == parse_multikey(KEY.multikey).did_key
    assert identity.pds == "https://pds.test"
    assert identity.claimed == "alice.test"
    assert identity.handle is None  # nobody has checked it


@pytest.mark.parametrize(
    ("suite", "key"),
    [
        ("EcdsaSecp256k1VerificationKey2019", K256Key()),
        ("EcdsaSecp256r1VerificationKey2019", P256Key()),
    ],
)
def test_the_suites_from_before_multikey_are_read(suite: str, key: K256Key | P256Key) -> None:
    document = did_document(DID, key)
    bare = libipld.encode_multibase("z", key.point)
    document["verificationMethod"][0] |= {"type": suite, "publicKeyMultibase": bare}
    assert parse(document).signing_key == parse_multikey(key.multikey).did_key


def test_ids_may_be_relative_or_absolute_and_others_are_passed_over() -> None:
    document = did_document(DID, KEY)
    other = did_document(DID, K256Key())["verificationMethod"][0]
    document["verificationMethod"] = [
        other | {"id": f"{DID}#other"},
        document["verificationMethod"][0] | {"id": "#atproto"},
        other,
    ]
    document["service"].insert(
        0, {"id": "#bsky_notif", "type": "X", "serviceEndpoint": "https://x"}
    )
    document["service"][1]["id"] = f"{DID}#atproto_pds"
    identity = parse(document)
    assert identity.signing_key == parse_multikey(KEY.multikey).did_key
    assert identity.pds == "https://pds.test"


@pytest.mark.parametrize(
    "change",
    [
        {"verificationMethod": []},
        {"verificationMethod": None},
        {"verificationMethod": [5]},
        {"verificationMethod": [{"id": "#atproto", "type": "Multikey"}]},
        {
            "verificationMethod": [
                {"id": "#atproto", "type": "Multikey", "publicKeyMultibase": "z1"}
            ]
        },
        {
            "verificationMethod": [
                {"id": "#atproto", "type": "?", "publicKeyMultibase": KEY.multikey}
            ]
        },
    ],
)
def test_a_document_without_a_usable_key_has_none(change: dict[str, Any]) -> None:
    identity = parse(did_document(DID, KEY) | change)
    assert identity.signing_key is None
    assert identity.pds == "https://pds.test"


@pytest.mark.parametrize(
    "endpoint",
    [
        "ftp://pds.test",
        "https://pds.test/path",
        "https://user@pds.test",
        "https://pds.test?x=1",
        "https://pds.test:99999999",
        "https://",
        "https://[::1",
        "pds.test",
        5,
        None,
        "https://" + "a" * 5000,
    ],
)
def test_a_pds_that_is_not_an_origin_is_none(endpoint: object) -> None:
    document = did_document(DID, KEY)
    document["service"][0]["serviceEndpoint"] = endpoint
    assert parse(document).pds is None


@pytest.mark.parametrize("names", [None, [], 5, [5], ["https://alice.test"]])
def test_a_document_without_a_handle_claims_none(names: object) -> None:
    identity = parse(did_document(DID, KEY) | {"alsoKnownAs": names})
    assert (identity.claimed, identity.handle) == (None, None)


@pytest.mark.parametrize(
    "name", ["at://not a handle", "at://", "at://alice.test/x", "at://alice", "at://" + "a" * 5000]
)
def test_a_claim_of_bad_form_is_an_invalid_handle(name: str) -> None:
    identity = parse(did_document(DID, KEY) | {"alsoKnownAs": [name]})
    assert (identity.claimed, identity.handle) == (None, "handle.invalid")


def test_the_first_alias_that_is_a_handle_is_the_claim() -> None:
    names = ["https://x.test", 5, "at://not a handle", "at://Second.test", "at://third.test"]
    assert parse(did_document(DID, KEY) | {"alsoKnownAs": names}).claimed == "second.test"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps(did_document(plc_did("bob"), KEY)).encode(),
        json.dumps(did_document(DID, KEY) | {"x": "a" * 100_000}).encode(),
    ],
)
def test_what_is_not_the_document_of_the_did_is_invalid(raw: bytes) -> None:
    with pytest.raises(InvalidIdentity):
        parse_document(DID, raw)


def test_where_documents_are() -> None:
    assert document_url(DID, PLC + "/") == f"{PLC}/{DID}"
    assert document_url("did:web:example.com", PLC) == "https://example.com/.well-known/did.json"
    assert (
        document_url("did:web:localhost%3A8080", PLC, local=True)
        == "http://localhost:8080/.well-known/did.json"
    )


@pytest.mark.parametrize(
    "did",
    [
        "",
        "did:plc:short",
        "did:plc:" + "A" * 24,
        "did:plc:" + "a" * 25,
        "did:plc:" + "a" * 23 + "1",
        "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
        "did:web:localhost",
        "did:web:localhost%3A8080",
        "did:web:example.com:path",
        "did:web:example.com%3A8080",
        "did:web:169.254.169.254",
        "did:web:example.com%2F..%2F",
        "did:web:" + "a" * 3000,
        "at://x",
    ],
)
def test_a_did_that_cannot_be_used_on_the_network_is_invalid(did: str) -> None:
    with pytest.raises(InvalidIdentity):
        document_url(did, PLC)


@pytest.mark.parametrize("did", ["did:web:localhost%3Ax", "did:web:localhost%3A80%2Fa"])
def test_local_allows_a_port_and_nothing_more(did: str) -> None:
    with pytest.raises(InvalidIdentity):
        document_url(did, PLC, local=True)
