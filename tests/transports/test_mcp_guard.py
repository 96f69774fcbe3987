"""Origins and addresses: tables of what may be connected to."""

from __future__ import annotations

import pytest

from understudy import InvalidSpec
from understudy.transports._mcp_guard import AddressRules, Origin
from understudy.transports._security import is_loopback
from understudy.transports.mcp import AddressBlocked


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://example.org", Origin("http", "example.org", 80)),
        ("https://Example.org/path?query#part", Origin("https", "example.org", 443)),
        ("https://example.org:8443/", Origin("https", "example.org", 8443)),
        ("http://[::1]:80/", Origin("http", "::1", 80)),
        ("HTTP://127.0.0.1", Origin("http", "127.0.0.1", 80)),
    ],
)
def test_the_origin_of_a_url_is_its_scheme_host_and_port(url: str, origin: Origin) -> None:
    assert Origin.of(url, "test") == origin


@pytest.mark.parametrize(
    "url",
    ["", "example.org", "//example.org", "file:///etc/passwd", "http://", "http://a:b@c", "http://a:99999",
     "http://a b", "http://a\r\nb", "http://[::1", "javascript:alert(1)"],
)  # fmt: skip
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(InvalidSpec):
        Origin.of(url, "test")


PUBLIC = ["93.184.216.34", "2606:2800:220:1::1", "8.8.8.8"]
INSIDE = [
    "127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "fe80::1", "fe80::1%eth0", "fc00::1",
    "fd12::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1",
    "64:ff9b::7f00:1", "2002:a00:1::", "2002:7f00:1::", "nonsense",
]  # fmt: skip


LOOPBACK = ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1")


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_connected_to(address: str) -> None:
    assert AddressRules().check("example.org", [address]) == [address]


@pytest.mark.parametrize("address", INSIDE)
def test_no_other_address_may_be_by_way_of_a_name(address: str) -> None:
    with pytest.raises(AddressBlocked):
        AddressRules().check("example.org", [address])
    with pytest.raises(AddressBlocked):
        AddressRules().check("example.org", ["8.8.8.8", address])


@pytest.mark.parametrize("address", [each for each in INSIDE if each not in LOOPBACK])
def test_but_for_loopback_it_does_not_help_to_have_it_in_the_url(address: str) -> None:
    with pytest.raises(AddressBlocked):
        AddressRules().check(address, [address])


@pytest.mark.parametrize(
    ("host", "address"), [*((each, each) for each in LOOPBACK), ("localhost", "127.0.0.1"), ("localhost", "::1")]
)
def test_loopback_may_be_when_the_url_says_so(host: str, address: str) -> None:
    assert AddressRules().check(host, [address]) == [address]


def test_a_name_for_loopback_is_not_followed_elsewhere() -> None:
    with pytest.raises(AddressBlocked):
        AddressRules().check("localhost", ["10.0.0.1"])


@pytest.mark.parametrize("host", ["localhost.evil.example", "127.0.0.1.evil.example", "2130706433", "0x7f.1", "evil"])
def test_what_only_looks_like_loopback_is_none(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("allow", "address"),
    [
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.2.3", "::ffff:10.1.2.3"),
        ("127.0.0.1", "127.0.0.1"),
        ("fd00::/8", "fd12::1"),
        ("169.254.0.0/16", "169.254.1.1"),
    ],
)
def test_what_is_listed_may_be_and_its_neighbours_may_not(allow: str, address: str) -> None:
    rules = AddressRules.of((allow,), "test")
    assert rules.check("inside.example", [address]) == [address]
    with pytest.raises(AddressBlocked):
        rules.check("inside.example", ["192.168.0.1"])


def test_a_name_without_an_address_is_blocked() -> None:
    with pytest.raises(AddressBlocked, match="no address"):
        AddressRules().check("example.org", [])
