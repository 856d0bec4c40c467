"""Which requests a server should not answer: Host names that lead astray, and web pages of other origins.

A page in the user's browser can send requests to a server on this machine. DNS rebinding lets it use a name
of its own, which the Host header shows. Otherwise the browser tells the page's origin in Origin or
Sec-Fetch-Site. Programs that are no browsers send neither.
"""

import re
import socket
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address

_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9_.-]*[a-z0-9])?)(:(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OWN_SITES = ("same-origin", "none")  # "none": the user has typed the address, or opened a bookmark


def host_name(host: str) -> str | None:
    """Return the name or address in a Host header, without the port; None if the header is malformed.

    >>> host_name("LocalHost:8080"), host_name("[::1]:80"), host_name("[::1"), host_name("a@localhost")
    ('localhost', '::1', None, None)
    """
    found = _parse(host)
    return found and found[0]


def _parse(authority: str) -> tuple[str, int | None] | None:
    """Return name and port of `name:port`; the port is None if there is none."""
    match = _AUTHORITY.fullmatch(authority.lower())
    port = int(match["port"]) if match and match["port"] else None
    if match is None or (port or 0) > 65535:
        return None
    name = match["name"]
    if name.startswith("["):
        return (str(ip_address(name[1:-1])), port) if is_address(name[1:-1]) else None
    return name, port


def is_address(name: str) -> bool:
    """Return whether a name is an address of IPv4 or IPv6."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback_name(name: str | None) -> bool:
    """Return whether a name is `localhost` or an address of this machine's loopback.

    >>> [is_loopback_name(name) for name in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "evil.example")]
    [True, True, True, False, False]
    """
    return name == "localhost" or (name is not None and is_address(name) and ip_address(name).is_loopback)


def is_own_name(name: str | None, own_names: Collection[str], *, loopback: bool) -> bool:
    """Return whether a server answers to the name in a Host header.

    A name must be known: a web page can make its own name lead to this machine (DNS rebinding), but not an
    address.

    Args:
        name: The name, from `host_name`.
        own_names: Names in lower case that the server has been given.
        loopback: Whether the server listens on loopback only. It then has the names of loopback. Otherwise it
            also has the machine's own name and every address.
    """
    if is_loopback_name(name) or name in own_names:
        return True
    return not loopback and name is not None and (is_address(name) or name == socket.gethostname().lower())


def normal_origin(origin: str) -> str | None:
    """Return an origin in the form that can be compared; None if it is not one of http or https.

    >>> normal_origin("HTTPS://PACS.example"), normal_origin("http://[0::1]:8080"), normal_origin("null")
    ('https://pacs.example:443', 'http://[::1]:8080', None)
    """
    scheme, _, authority = origin.lower().partition("://")
    found = _parse(authority)
    if scheme not in _DEFAULT_PORTS or found is None:
        return None
    name, port = found
    name = f"[{name}]" if ":" in name else name
    return f"{scheme}://{name}:{_DEFAULT_PORTS[scheme] if port is None else port}"


def is_foreign_page(headers: Mapping[str, str], own_origins: Collection[str] = ()) -> bool:
    """Return whether a page of another origin sends the request, be it to read, to write or to navigate.

    Args:
        headers: Values by name in lower case. A name that came several times must have all its values, with
            a comma between them (`joined_headers`).
        own_origins: Origins of the server beside `http://` and its Host, in the form of `normal_origin`.
    """
    if headers.get("sec-fetch-site", "none").lower() not in _OWN_SITES:
        return True
    if "origin" not in headers:
        return False
    origin = normal_origin(headers["origin"])
    return origin is None or origin not in (normal_origin(f"http://{headers.get('host', '')}"), *own_origins)


def joined_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return ASGI's headers by name, with a comma between several values of one name.

    >>> joined_headers([(b"Host", b"a"), (b"host", b"b")])
    {'host': 'a,b'}
    """
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip()
        found[name] = f"{found[name]},{value}" if name in found else value
    return found
