"""Which requests a server should not answer: Host names that lead astray, and web pages of other origins.

A page in the user's browser can send requests to a server on this machine. DNS rebinding lets it use a name
of its own, which the Host header shows. Otherwise the browser tells the page's origin in Origin or
Sec-Fetch-Site. Programs that are no browsers send neither.
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9_.-]*[a-z0-9])?)(:\d{1,5})?", re.ASCII)
_OWN_SITES = ("same-origin", "none")  # "none": the user has typed the address, or opened a bookmark


def host_name(host: str) -> str | None:
    """Return the name or address in a Host header, without the port; None if the header is malformed.

    >>> host_name("LocalHost:8080"), host_name("[::1]:80"), host_name("[::1"), host_name("a@localhost")
    ('localhost', '::1', None, None)
    """
    match = _HOST.fullmatch(host.lower())
    name = match[1].strip("[]") if match else None
    return None if name is None or (":" in name and not _is_address(name)) else name


def is_loopback_name(name: str | None) -> bool:
    """Return whether a name is `localhost` or an address of this machine's loopback.

    >>> [is_loopback_name(name) for name in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "evil.example")]
    [True, True, True, False, False]
    """
    return name == "localhost" or (name is not None and _is_address(name) and ip_address(name).is_loopback)


def is_foreign_page(headers: Mapping[str, str]) -> bool:
    """Return whether a page of another origin sends the request, be it to read, to write or to navigate.

    Args:
        headers: Values by name in lower case. A name that came several times must have all its values, with
            a comma between them (`joined_headers`).
    """
    if headers.get("sec-fetch-site", "none") not in _OWN_SITES:
        return True
    scheme, _, authority = headers.get("origin", "").lower().partition("://")
    if "origin" not in headers:
        return False
    default = {"http": ":80", "https": ":443"}.get(scheme)
    own = headers.get("host", "").lower()
    return default is None or authority.removesuffix(default) != own.removesuffix(default)


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


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
