"""Who is counted: the peer, or whom a trusted proxy names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.protocol.networks import parse_networks
from backend.server.client_address import UNKNOWN, client_address

OURS = parse_networks("10.0.0.0/8, ::1")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        ("1.2.3.4", "", "1.2.3.4"),
        ("1.2.3.4", "9.9.9.9", "1.2.3.4"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "9.9.9.9", "9.9.9.9"),
        ("10.0.0.1", "6.6.6.6, 9.9.9.9", "9.9.9.9"),
        ("10.0.0.1", "9.9.9.9, 10.0.0.2", "9.9.9.9"),
        ("10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "9.9.9.9,", "10.0.0.1"),
        ("10.0.0.1", "nonsense", UNKNOWN),
        ("::1", "9.9.9.9", "9.9.9.9"),
        ("::ffff:10.0.0.1", "9.9.9.9", "9.9.9.9"),
        ("::ffff:1.2.3.4", "", "1.2.3.4"),
        ("2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "", "fe80::/64"),
        ("", "9.9.9.9", UNKNOWN),
        ("unknown", "", UNKNOWN),
    ],
)
def test_the_last_address_that_nobody_of_ours_wrote(
    peer: str, forwarded_for: str, address: str
) -> None:
    """A header counts as far as our own proxies have written it; the rest anybody can make up."""
    assert client_address(peer, forwarded_for, OURS) == address


def test_nobody_is_trusted_by_default() -> None:
    """Without a list of proxies the header says nothing."""
    assert client_address("10.0.0.1", "9.9.9.9", parse_networks("")) == "10.0.0.1"


@given(st.text(), st.text())
def test_anything_may_stand_there(peer: str, forwarded_for: str) -> None:
    """Whatever the peer and the header are, the outcome is an address, a network or unknown."""
    address = client_address(peer, forwarded_for, OURS)
    assert address == UNKNOWN or parse_networks(address)


@pytest.mark.parametrize("text", ["nonsense", "1.2.3", "10.0.0.1/8", "1.2.3.4 5.6.7.8"])
def test_a_wrong_network_is_refused(text: str) -> None:
    """What is no network cannot be trusted."""
    with pytest.raises(ValueError, match=text.split("/")[0].split(" ")[0]):
        parse_networks(text)
