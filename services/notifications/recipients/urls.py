"""The addresses that a webhook may go to: public ones, over HTTP. A channel must not reach our own network (SSRF).

The URL is checked when it is set, and the resolved address at every connection, so a name that resolves to another
address later is refused, too.
"""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from yarl import URL

from services.notifications.recipients.tables import URL_CHARACTERS

# NAT64 (RFC 6052): an IPv4 address inside an IPv6 address.
_NAT64 = IPv6Network("64:ff9b::/96")


class RefusedAddressError(OSError):
    """Webhooks to this address are not allowed."""


def check_url(url: str, *, allow_loopback: bool) -> str:
    """Return the URL as it is stored, with its scheme in small letters.

    Raises ValueError with the reason of a refusal.
    """
    if len(url) > URL_CHARACTERS or not all("!" <= character <= "~" for character in url):
        raise ValueError("a URL has at most 2,000 characters, all of them printable ASCII")
    try:
        parsed = URL(url)
        port, host = parsed.port, parsed.host
    except ValueError as error:
        raise ValueError("this is not a URL") from error
    if parsed.scheme not in {"http", "https"} or not host or not port:
        raise ValueError("an endpoint is an http:// or https:// URL")
    if parsed.user is not None or parsed.password is not None:
        raise ValueError("leave name and password out of the URL; the signature proves who calls")
    url = parsed.scheme + url[len(parsed.scheme) :]
    try:
        address = ip_address(host)
    except ValueError:
        return url
    if not may_connect(address, allow_loopback=allow_loopback):
        raise ValueError("this address is not public, so webhooks don't go there")
    return url


def may_connect(address: IPv4Address | IPv6Address, *, allow_loopback: bool) -> bool:
    """Return True for an address of the public Internet, or for the loopback where that is allowed."""
    if isinstance(address, IPv6Address):
        address = _inner(address)
    if address.is_loopback:
        return allow_loopback
    return address.is_global and not address.is_multicast


def guarded_socket(*, allow_loopback: bool) -> Callable[[Any], socket.socket]:
    """Return the function with which aiohttp creates sockets; it checks each address before the connection."""

    def make(info: Any) -> socket.socket:
        family, kind, protocol, _, (host, *_) = info
        if not may_connect(ip_address(host.partition("%")[0]), allow_loopback=allow_loopback):
            raise RefusedAddressError("this address is not public")
        connection = socket.socket(family, kind, protocol)
        connection.setblocking(False)
        return connection

    return make


def _inner(address: IPv6Address) -> IPv4Address | IPv6Address:
    # The IPv4 address that an IPv6 address only wraps.
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)
