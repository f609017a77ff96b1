"""What may be opened for others: URLs by their text, addresses by the network that they lie in."""

from __future__ import annotations

import ipaddress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdex_xrpc import AddressPolicy, UnsafeAddress, UnsafeUrl, check_address, check_url
from atdex_xrpc.addresses import guarded_async_client, guarded_client, resolve, resolve_async
from atdex_xrpc.networks import findings

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:800::200e",
    # Forms that carry a public IPv4 address.
    "::ffff:8.8.8.8",
    "::8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]

PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "::1",
    "fc00::1",
    "fd12:3456:789a::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::127.0.0.1",
    "::ffff:0:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2a00:1450::5efe:10.0.0.1",
    "2a00:1450::200:5efe:10.0.0.1",
]

REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "fd00:ec2::254",
    "100::1",
    "2001::",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "64:ff9b:1::8.8.8.8",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "2002:e000:1::",
    # Teredo: server 8.8.8.8, client 169.254.169.254 (inverted).
    "2001:0:808:808:0:0:5601:5601",
    # Teredo: server 0.0.0.0.
    "2001::5601:5601",
    "2a00:1450::5efe:169.254.169.254",
]

SHUT, OPEN = AddressPolicy(), AddressPolicy(allow_private=True)


@pytest.mark.parametrize("address", PUBLIC)
@pytest.mark.parametrize("policy", [SHUT, OPEN], ids=["shut", "open"])
def test_a_public_address_passes(address: str, policy: AddressPolicy) -> None:
    check_address(address, policy)
    check_address(ipaddress.ip_address(address), policy)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_passes_only_where_private_networks_are_allowed(address: str) -> None:
    check_address(address, OPEN)
    with pytest.raises(UnsafeAddress) as caught:
        check_address(address, SHUT, host="innocent.example")
    assert caught.value.private
    assert caught.value.host == "innocent.example"
    assert caught.value.address == address


@pytest.mark.parametrize("address", REFUSED)
@pytest.mark.parametrize("policy", [SHUT, OPEN], ids=["shut", "open"])
def test_an_address_that_is_neither_is_refused_always(address: str, policy: AddressPolicy) -> None:
    with pytest.raises(UnsafeAddress):
        check_address(address, policy)
    with pytest.raises(UnsafeAddress):
        check_address(ipaddress.ip_address(address), policy)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "1.2.3.4.5",
        "::1%lo",
        "[::1]",
        "fe80::1%eth0",
        "2606:4700::1%0",
        "8.8.8.8 ",
        "\uff18.8.8.8",
        "1.1.1.1\0",
    ],
)
def test_text_that_is_no_plain_address_is_refused(text: str) -> None:
    with pytest.raises(UnsafeAddress):
        check_address(text, OPEN)


@given(st.integers(0, 2**32 - 1))
def test_every_carrier_is_judged_like_the_address_that_it_carries(value: int) -> None:
    inside = ipaddress.IPv4Address(value)
    plain = list(findings(inside))
    for prefix in ("::ffff:0:0", "::ffff:0:0:0", "64:ff9b::"):
        carrier = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | value)
        assert list(findings(carrier)) == plain
    six_to_four = ipaddress.IPv6Address((0x2002 << 112) | (value << 80) | 1)
    assert list(findings(six_to_four)) == plain


@given(st.ip_addresses())
def test_what_the_standard_library_calls_not_global_never_passes_the_shut_policy(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    # A second opinion, in the direction that matters. Carriers of IPv4 are judged by their load.
    carrier = isinstance(address, ipaddress.IPv6Address) and int(address) >> 125 != 1
    if address.is_global or carrier:
        return
    with pytest.raises(UnsafeAddress):
        check_address(address, SHUT)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "https://example.com:8443/a/b?c=d#e",
        "https://example.com./",
        "https://bücher.example/",
        "https://xn--bcher-kva.example/",
        "http://8.8.8.8/",
        "http://[2606:4700:4700::1111]:80/",
        "https://example.com/a@b",
        "https://example.com/?q=a@b",
        "https://example.com/with%20space",
        "https://3com.example/",
    ],
)
def test_a_plain_url_passes(url: str) -> None:
    assert check_url(url).scheme in ("http", "https")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "/etc/passwd",
        "data/train-000.tar",
        "pipe:ls",
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://example.com/",
        "s3://bucket/key",
        "javascript:alert(1)",
        "http:///path",
        "http://",
        "http:example.com",
        "https://.example.com/",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://:password@example.com/",
        "http://@example.com/",
        "http://example.com@evil.example/",
        "http://example.com\\@evil.example/",
        "http://exa mple.com/",
        "http://example.com/ ",
        " http://example.com/",
        "http://example.com/\r\nHost: evil",
        "http://example.com/\x00",
        "http://example.com/\u202egnp.exe",
        "http://exam\tple.com/",
        "http://127%2e0.0.1/",
        "http://%31%32%37.0.0.1/",
        "http://[fe80::1%25eth0]/",
        "http://[::1%lo]/",
        "http://[::1/",
        "http://[v1.x]/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0X7F.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://127.0.0.256/",
        "http://1.2.3.4.5/",
        "http://evil.example.1/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://\u2460\u2461\u2466.0.0.1/",
        "http://xn--/",
        "http://xn--aaaaaaaaaa.com/",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:-1/",
        "http://example.com:80a/",
        "http://example.com/" + "a" * 10_000,
    ],
)
def test_a_url_that_is_not_plain_is_refused(url: str) -> None:
    with pytest.raises(UnsafeUrl) as caught:
        check_url(url)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_the_schemes_are_the_callers_choice() -> None:
    assert check_url("wss://relay.example/", schemes=("ws", "wss")).host == "relay.example"
    with pytest.raises(UnsafeUrl, match="its scheme is https, not ws or wss"):
        check_url("https://relay.example/", schemes=("ws", "wss"))


@given(st.text(max_size=40))
def test_any_text_is_a_url_or_an_unsafe_one(text: str) -> None:
    for url in (text, f"http://{text}", f"http://example.com/{text}"):
        try:
            parsed = check_url(url)
        except UnsafeUrl:
            continue
        assert parsed.host
        assert not parsed.userinfo


@pytest.mark.parametrize("refused", ["169.254.169.254", "127.0.0.1", "fe80::1%eth0", "nonsense"])
async def test_what_a_lookup_of_ones_own_gives_is_checked_as_well(refused: str) -> None:
    async def lookup(host: str) -> list[str]:
        return ["1.1.1.1", refused]

    policy = AddressPolicy(lookup=lookup)
    with pytest.raises(UnsafeAddress):
        await resolve_async("alice.test", 443, policy)
    async with guarded_async_client(policy) as http:
        with pytest.raises(UnsafeAddress):
            await http.get("http://alice.test/")


async def test_a_lookup_gives_the_addresses_in_its_order_without_repeats() -> None:
    async def lookup(host: str) -> list[str]:
        return ["8.8.8.8", "1.1.1.1", "8.8.8.8", *(f"9.9.9.{n}" for n in range(50))]

    found = await resolve_async("alice.test", 443, AddressPolicy(lookup=lookup))
    assert found[:2] == ["8.8.8.8", "1.1.1.1"]
    assert len(found) == 16


async def test_a_lookup_that_fails_is_a_failed_connection() -> None:
    async def lookup(host: str) -> list[str]:
        raise OSError("no answer")

    async with guarded_async_client(AddressPolicy(lookup=lookup)) as http:
        with pytest.raises(httpx.ConnectError, match="no answer"):
            await http.get("http://alice.test/")


def test_a_lookup_is_for_asyncio_only() -> None:
    async def lookup(host: str) -> list[str]:
        return ["1.1.1.1"]

    with pytest.raises(ValueError, match="asyncio"):
        resolve("alice.test", 443, AddressPolicy(lookup=lookup))
    with guarded_client(AddressPolicy(lookup=lookup)) as http, pytest.raises(ValueError):
        http.get("http://alice.test/")
