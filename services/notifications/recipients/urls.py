"""Where a webhook may go: to public addresses, over HTTP. A channel must not make us knock at our own doors (SSRF).

The URL is checked when it is set, and the address at every connection when it is known for good, so a name that
resolves differently the second time gains nothing.
"""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from yarl import URL

from services.notifications.recipients.tables import URL_CHARACTERS

# NAT64 (RFC 6052): an IPv4 address in IPv6 clothes.
_NAT64 = IPv6Network("64:ff9b::/96")


class RefusedAddressError(OSError):
    """We don't connect there."""


def check_url(url: str, *, allow_loopback: bool) -> str:
    """The URL as it is stored, its scheme in small letters; raises ValueError that says why no webhook may go there."""
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
    """Whether this is an address of the public Internet, or the loopback where that is allowed."""
    if isinstance(address, IPv6Address):
        address = _inner(address)
    if address.is_loopback:
        return allow_loopback
    return address.is_global and not address.is_multicast


def guarded_socket(*, allow_loopback: bool) -> Callable[[Any], socket.socket]:
    """Makes aiohttp's sockets: called with each address that it is about to connect to."""

    def make(info: Any) -> socket.socket:
        family, kind, protocol, _, (host, *_) = info
        if not may_connect(ip_address(host.partition("%")[0]), allow_loopback=allow_loopback):
            raise RefusedAddressError("this address is not public")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    return make


def _inner(address: IPv6Address) -> IPv4Address | IPv6Address:
    # What an IPv6 address leads to when it only wraps an IPv4 one.
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)
