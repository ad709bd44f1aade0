from __future__ import annotations

from ipaddress import ip_network

import pytest

from guard.core.network import (
    TrustedProxies,
    client_address,
    forwarded,
    forwarded_for,
    network_of,
    parse_address,
)

OURS = TrustedProxies((ip_network("10.0.0.0/8"), ip_network("2001:db8:aaaa::/48")))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("192.0.2.1:8080", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:8080", "2001:db8::1"),
        ('"[2001:db8::1]:8080"', "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unknown", None),
        ("_hidden", None),
        ("", None),
        ("192.0.2.256", None),
        ("192.0.2.1, 192.0.2.2", None),
        ("192.0.2.1\x00", None),
        ("x" * 100_000, None),
    ],
)
def test_addresses_are_read_in_every_form_that_proxies_write(text: str, address: str | None) -> None:
    found = parse_address(text)
    assert (str(found) if found else None) == address


@pytest.mark.parametrize(
    ("peer", "lines", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["6.6.6.6"], "192.0.2.1"),
        ("10.0.0.2", ["192.0.2.1"], "192.0.2.1"),
        ("10.0.0.2", ["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        ("10.0.0.2", ["6.6.6.6", "192.0.2.1"], "192.0.2.1"),
        ("10.0.0.2", ["6.6.6.6, 192.0.2.1, 10.0.0.1"], "192.0.2.1"),
        ("10.0.0.2", ["203.0.113.10, 127.0.0.1"], "127.0.0.1"),
        ("10.0.0.2", ["10.0.0.9, 10.0.0.1"], "10.0.0.9"),
        ("10.0.0.2", ["6.6.6.6, garbage"], "10.0.0.2"),
        ("10.0.0.2", ["6.6.6.6, "], "10.0.0.2"),
        ("10.0.0.2", [], "10.0.0.2"),
        ("2001:db8:aaaa::1", ["2001:db8:bbbb::7"], "2001:db8:bbbb::7"),
        ("::ffff:10.0.0.2", ["192.0.2.1"], "192.0.2.1"),
        (None, ["192.0.2.1"], None),
    ],
)
def test_only_what_trusted_proxies_report_is_believed(
    peer: str | None, lines: list[str], client: str | None
) -> None:
    found = client_address(parse_address(peer) if peer else None, forwarded_for(lines), OURS)
    assert (str(found) if found else None) == client


@pytest.mark.parametrize(
    ("lines", "hops"),
    [
        (["for=192.0.2.1"], ["192.0.2.1"]),
        (["for=192.0.2.1;proto=https, for=10.0.0.1"], ["192.0.2.1", "10.0.0.1"]),
        (['for="[2001:db8::1]:80"', "by=10.0.0.1;For=192.0.2.1"], ['"[2001:db8::1]:80"', "192.0.2.1"]),
        (["proto=https"], [""]),
    ],
)
def test_the_standard_header_is_read(lines: list[str], hops: list[str]) -> None:
    assert forwarded(lines) == hops


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.77/32"),
        ("::ffff:192.0.2.77", "192.0.2.77/32"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
    ],
)
def test_a_caller_cannot_leave_its_network_by_changing_its_address(address: str, network: str) -> None:
    found = parse_address(address)
    assert found is not None
    assert network_of(found) == network
