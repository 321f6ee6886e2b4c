"""Whether a browser sends something for another site's page, which could otherwise use a service on its host."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

__all__ = ["foreign_origin"]


def foreign_origin(headers: Mapping[str, str]) -> bool:
    """Whether the headers name the origin of a page that is not this host's.

    A name that a page resolves to this host is its own host, too (DNS rebinding): to be this host's, an origin must be
    local, an address, or have shown a certificate for its name.
    """
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        parts = urlsplit(origin)
        name = parts.hostname or ""
    except ValueError:
        return True
    address = _address(name)
    own = parts.netloc == headers.get("host") and (address is not None or parts.scheme == "https")
    return not (own or name == "localhost" or (address is not None and address.is_loopback))


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
