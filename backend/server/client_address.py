"""Who is at the other end of a connection: the peer, or whom a trusted proxy names. Pure."""

import ipaddress
from collections.abc import Sequence

from ..protocol.networks import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

UNKNOWN = "unknown"  # such as the peer of a Unix socket
IPV6_PREFIX = 64  # what one household or machine is given: its addresses count as one
HOPS = 16  # proxies of ours between a client and us; what stands further left is not read


def client_address(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The address that limits count by, in its shortest form.

    `forwarded_for` is the header X-Forwarded-For, which everybody can write: each
    proxy appends its own peer, so it is believed from the right, as far as the
    addresses are those of trusted proxies.
    """
    address = _parse(peer)
    hops = [hop.strip() for hop in forwarded_for.split(",")][-HOPS:]
    while address and hops and hops[-1] and any(address in network for network in trusted):
        address = _parse(hops.pop())
    return _subject(address) if address else UNKNOWN


def _parse(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _subject(address: Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
