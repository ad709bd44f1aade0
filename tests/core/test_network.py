from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

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
        ("192.0.2", None),
        ("3221225985", None),
        ("0xc0000201", None),
        ("192.0.2.01", None),
        ("[]", None),
        ("[", None),
        ("[2001:db8::1", "2001:db8::1"),
        ("2001:db8::1::", None),
        (":8080", None),
        ("fe80::1%25eth0", "fe80::1"),
        ("[fe80::1%eth0]:443", "fe80::1"),
        ("[::ffff:192.0.2.1]:443", "192.0.2.1"),
        ("::FFFF:C000:0201", "192.0.2.1"),
        ("2001:0DB8:0000::0001", "2001:db8::1"),
        ('"192.0.2.1:_port"', "192.0.2.1"),
        ("localhost", None),
        ("testclient", None),
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
        ("10.0.0.2", [""], "10.0.0.2"),
        ("10.0.0.2", ["192.0.2.1", ""], "10.0.0.2"),
        ("10.0.0.2", ["6.6.6.6, 192.0.2.1", "10.0.0.3", "10.0.0.1"], "192.0.2.1"),
        ("10.0.0.2", ["6.6.6.6", "7.7.7.7, 192.0.2.1:5555"], "192.0.2.1"),
        ("10.0.0.2", ["garbage, 192.0.2.1"], "192.0.2.1"),
        ("10.0.0.2", ["192.0.2.1, unknown, 10.0.0.1"], "10.0.0.1"),
        ("10.0.0.2", ["10.0.0.7, 6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        ("10.0.0.2", ["6.6.6.6, ::ffff:10.0.0.3"], "6.6.6.6"),
        ("10.0.0.2", ["6.6.6.6, [2001:db8:aaaa::3]:443"], "6.6.6.6"),
        ("192.0.2.1", ["10.0.0.1", "10.0.0.2"], "192.0.2.1"),
        ("testclient", ["192.0.2.1"], None),
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
        ([], []),
        ([""], [""]),
        (["FOR = 192.0.2.1 ; by=x"], [" 192.0.2.1 "]),
        (["for=unknown, for=_hidden"], ["unknown", "_hidden"]),
        (["for=6.6.6.6", "for=192.0.2.1, proto=http"], ["6.6.6.6", "192.0.2.1", ""]),
        (["for"], [""]),
        (["forwarded=6.6.6.6;for=192.0.2.1"], ["192.0.2.1"]),
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


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["for=192.0.2.1"], "192.0.2.1"),
        (['for="192.0.2.1:8080";proto=https'], "192.0.2.1"),
        (['for=6.6.6.6, For="[2001:db8::7]:443";by=10.0.0.1, for=10.0.0.1'], "2001:db8::7"),
        (["for=6.6.6.6", "for=192.0.2.1"], "192.0.2.1"),
        (["for=6.6.6.6, for=unknown"], "10.0.0.2"),
        (["for=6.6.6.6, for=_SEVKISEK"], "10.0.0.2"),
        (["for=6.6.6.6, proto=https"], "10.0.0.2"),
        # A quotation mark that a client leaves open takes nothing away from what the proxy writes after it.
        (['for="6.6.6.6, for=192.0.2.1'], "192.0.2.1"),
        (['for="x;y=\\", for=192.0.2.1'], "192.0.2.1"),
    ],
)
def test_the_standard_header_gives_the_client(lines: list[str], client: str) -> None:
    assert str(client_address(parse_address("10.0.0.2"), forwarded(lines), OURS)) == client


@given(claimed=st.lists(st.text(max_size=20)))
def test_nothing_that_a_client_claims_moves_it(claimed: list[str]) -> None:
    seen = parse_address("192.0.2.1")
    proxy = parse_address("10.0.0.2")
    assert client_address(proxy, forwarded_for([*claimed, "192.0.2.1"]), OURS) == seen
    assert client_address(proxy, forwarded([*claimed, "for=192.0.2.1"]), OURS) == seen
    assert client_address(seen, forwarded_for(claimed), OURS) == seen


@given(address=st.ip_addresses())
def test_an_address_is_read_however_it_is_dressed(address: IPv4Address | IPv6Address) -> None:
    assume(not (isinstance(address, IPv6Address) and address.ipv4_mapped))
    dressed = [f"[{address}]:80", f'"[{address}]"', f" {address} "]
    assert {parse_address(text) for text in [str(address), *dressed]} == {address}


@given(text=st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    found = parse_address(text)
    assert found is None or parse_address(str(found)) == found


def test_nobody_is_trusted_by_default_and_a_unix_socket_never() -> None:
    address = parse_address("127.0.0.1")
    assert not TrustedProxies().trusts(address)
    assert not TrustedProxies((ip_network("0.0.0.0/0"), ip_network("::/0"))).trusts(None)
    assert not TrustedProxies((ip_network("::/0"),)).trusts(address)
    assert TrustedProxies((ip_network("0.0.0.0/0"),)).trusts(address)


def test_ten_thousand_addresses_of_one_network_are_one_caller() -> None:
    addresses = (parse_address(f"2001:db8:1:2::{number:x}:{number * 7:x}") for number in range(9_000))
    assert {network_of(address) for address in addresses if address} == {"2001:db8:1:2::/64"}
