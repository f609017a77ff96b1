from __future__ import annotations

import base64
import json
from typing import Any

import coincurve
import libipld
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from atdex_firehose.crypto import (
    InvalidKey,
    PublicKey,
    parse_did_key,
    parse_multikey,
    parse_verification_key,
)
from tests.support.paths import INTEROP
from tests.support.repo import K256_ORDER, P256_ORDER, K256Key, P256Key, high_s

VECTORS = INTEROP / "crypto"


def vectors(name: str) -> list[dict[str, Any]]:
    path = VECTORS / name
    if not path.exists():
        pytest.skip(f"the public test vectors are not here: {path}")
    loaded: list[dict[str, Any]] = json.loads(path.read_text())
    return loaded


def unbase64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


def test_interop_signature_fixtures() -> None:
    for vector in vectors("signature-fixtures.json"):
        message = unbase64(vector["messageBase64"])
        signature = unbase64(vector["signatureBase64"])
        by_did = parse_did_key(vector["publicKeyDid"])
        by_suite = parse_verification_key(vector["didDocSuite"], vector["publicKeyMultibase"])
        assert by_did.did_key == by_suite.did_key == vector["publicKeyDid"], vector["comment"]
        assert by_did.verify(signature, message) is vector["validSignature"], vector["comment"]


def test_interop_w3c_didkey_k256() -> None:
    for vector in vectors("w3c_didkey_K256.json"):
        secret = bytes.fromhex(vector["privateKeyBytesHex"])
        point = coincurve.PrivateKey(secret).public_key.format(compressed=True)
        assert PublicKey("k256", point).did_key == vector["publicDidKey"]
        assert parse_did_key(vector["publicDidKey"]).curve == "k256"


def test_interop_w3c_didkey_p256() -> None:
    for vector in vectors("w3c_didkey_P256.json"):
        secret = libipld.decode_multibase("z" + vector["privateKeyBytesBase58"])[1]
        key = P256Key(ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1()))
        assert PublicKey("p256", key.point).did_key == vector["publicDidKey"]
        assert parse_did_key(vector["publicDidKey"]).curve == "p256"


def test_every_interop_crypto_file_has_a_test() -> None:
    if not VECTORS.exists():
        pytest.skip(f"the public test vectors are not here: {VECTORS}")
    assert sorted(path.name for path in VECTORS.iterdir()) == [
        "signature-fixtures.json",
        "w3c_didkey_K256.json",
        "w3c_didkey_P256.json",
    ]


@pytest.mark.parametrize(("key", "order"), [(K256Key(), K256_ORDER), (P256Key(), P256_ORDER)])
def test_only_the_low_s_form_of_64_bytes_is_a_signature(key: K256Key | P256Key, order: int) -> None:
    public = parse_multikey(key.multikey)
    signature = key.sign(b"message")
    assert public.verify(signature, b"message")
    assert not public.verify(signature, b"another message")
    assert not public.verify(high_s(signature, order), b"message")
    assert not public.verify(signature + b"\0", b"message")
    assert not public.verify(signature[:63], b"message")
    assert not public.verify(b"", b"message")


@pytest.mark.parametrize("key", [K256Key(), P256Key()])
@pytest.mark.parametrize("number", [0, K256_ORDER, P256_ORDER, 2**256 - 1])
def test_numbers_out_of_range_are_no_signature(key: K256Key | P256Key, number: int) -> None:
    public = parse_multikey(key.multikey)
    good = key.sign(b"message")
    raw = number.to_bytes(32, "big")
    assert not public.verify(raw + good[32:], b"message")
    assert not public.verify(good[:32] + raw, b"message")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "did:key:",
        "did:key:z",
        "did:key:z0OIl",
        "did:key:mAAAA",
        "did:web:example.com",
        "did:key:z" + "1" * 100_000,
        "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",  # ed25519
    ],
)
def test_a_key_that_cannot_be_used_is_an_invalid_key(text: str) -> None:
    with pytest.raises(InvalidKey):
        parse_did_key(text)


@pytest.mark.parametrize("curve", ["k256", "p256"])
def test_a_point_that_is_not_on_the_curve_is_an_invalid_key(curve: Any) -> None:
    for point in (b"\x02" + b"\xff" * 32, b"", b"\x00", b"\x05" + b"\x01" * 32):
        with pytest.raises(InvalidKey):
            PublicKey(curve, point)


def test_an_unknown_suite_is_an_invalid_key() -> None:
    with pytest.raises(InvalidKey):
        parse_verification_key("Ed25519VerificationKey2020", K256Key().multikey)
