"""Fetch an image by URL for a visitor, and nothing that only this server can reach."""

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Set
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from covid_monai.api.uploads import Limits

_SECONDS = 20.0
_REDIRECTS = 3
_CHUNK = 1 << 16


class FetchError(ValueError):
    """The URL is not allowed, or gives no file."""


def fetch(url: str, limits: Limits, hosts: Set[str] = frozenset()) -> tuple[str, bytes]:
    """Fetch a file over http or https.

    Every address that is connected to, after redirects too, is checked after the name was resolved, and it
    is that very address that is connected to: a name that resolves otherwise a moment later gains nothing.

    Args:
        url: As the visitor gave it.
        limits: The body is counted while it comes.
        hosts: Names of hosts whose addresses may be private.

    Returns:
        A name, and the content.

    Raises:
        FetchError: If it is not allowed, or fails.
        LimitExceeded: If it is too large.
    """
    for _ in range(_REDIRECTS + 1):
        parts = _checked(url)
        connection = _connect(parts, hosts)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", target, headers={"Accept-Encoding": "identity"})
            answer = connection.getresponse()
            if answer.status in (301, 302, 303, 307, 308):
                url = urljoin(url, answer.getheader("Location", ""))
                continue
            if answer.status != 200:
                raise FetchError(f"The server answered {answer.status}; a file was expected.")
            name = unquote(parts.path.rsplit("/", 1)[-1]) or "image"
            return name, _body(answer, name, limits)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
                raise  # ours: they say what is wrong
            raise FetchError("The file could not be fetched: the connection failed.") from error
        finally:
            connection.close()
    raise FetchError(f"More than {_REDIRECTS} redirects.")


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        allowed = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
        _ = parts.port  # raises where it is none
    except ValueError as error:
        raise FetchError("That is no URL.") from error
    if not allowed:
        raise FetchError("Give a URL that begins with http:// or https://, without a user name.")
    return parts


def _connect(parts: SplitResult, hosts: Set[str]) -> http.client.HTTPConnection:
    """A connection to an address of the host that was checked."""
    host = str(parts.hostname)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise FetchError(f"There is no host {host}.") from error
    addresses = [str(entry[4][0]) for entry in found]
    if host not in hosts and not all(_is_public(address) for address in addresses):
        raise FetchError(f"{host} is in a private network, where this server fetches nothing.")
    try:
        plain = socket.create_connection((addresses[0], port), timeout=_SECONDS)
        if parts.scheme == "http":
            connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
            connection.sock = plain
        else:
            secure = http.client.HTTPSConnection(host, port, timeout=_SECONDS)
            secure.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
            connection = secure
    except OSError as error:
        raise FetchError(f"{host} cannot be reached.") from error
    return connection


def _is_public(address: str) -> bool:
    """Whether anybody reaches it: not loopback, private, link-local, multicast or reserved.

    >>> _is_public("127.0.0.1"), _is_public("169.254.169.254"), _is_public("::ffff:10.0.0.1")
    (False, False, False)
    >>> _is_public("1.1.1.1")
    True
    """
    ip = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    return ip.is_global and not ip.is_multicast


def _body(answer: http.client.HTTPResponse, name: str, limits: Limits) -> bytes:
    limits.check_file(name, int(answer.getheader("Content-Length") or 0))
    body = bytearray()
    while piece := answer.read(_CHUNK):
        body += piece
        limits.check_file(name, len(body))
    return bytes(body)
