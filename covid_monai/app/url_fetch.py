"""A file from a URL that a visitor names: from public addresses only, and within one time for everything."""

import asyncio
import socket
import ssl
import string
from collections.abc import Iterable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from io import BytesIO
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

import httpcore

from covid_monai.api.uploads import Limits, MemoryBudget, Upload, plain_name

_MAX_REDIRECTS = 3
_MAX_FETCHES = 64  # of all visitors at once
_RESOLVERS = 16
_MAX_ADDRESSES = 8  # of one name
_READ_BYTES = 1 << 12
_CONNECT_SECONDS = 5.0  # until the next address of a name is tried
_DEFAULT_PORTS = {"http": 80, "https": 443}

# The registries of IANA for special addresses, and 192.88.99.0/24 (RFC 7526).
_SPECIAL_IPV4 = [
    ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
]
_GLOBAL_UNICAST = ip_network("2000::/3")
# Protocols with Teredo, documentation, 6to4, 6bone, documentation.
_SPECIAL_IPV6 = [
    ip_network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3ffe::/16", "3fff::/20")
]
_ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")  # before an IPv4 address, RFC 5214 section 6.1
_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LENGTHS = (32, 40, 48, 56, 64, 96)  # RFC 6052 section 2.2
_IPV4_ONLY = {IPv4Address("192.0.0.170"), IPv4Address("192.0.0.171")}  # of ipv4only.arpa, RFC 7050


class FetchError(ValueError):
    """A URL is not allowed, or gives no file."""


class _Target(NamedTuple):
    scheme: str
    host: str  # in ASCII, without brackets
    port: int
    path: str  # with the query
    name: str  # of the file

    @property
    def authority(self) -> str:
        """Value of the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class UrlFetcher:
    """Fetches files over http and https for all visitors, in the event loop: a slow server takes no thread.

    A name is resolved once. Every address that it has must be public, and one of these very addresses is
    connected to, after a redirect too. Proxies of the environment are not used.

    Args:
        limits: Limits of one file.
        budget: Memory budget that the files count against.
        hosts: Names of hosts that may have private addresses.
        seconds: Time for one file, from the name to the last byte, with all redirects.
    """

    def __init__(self, limits: Limits, budget: MemoryBudget, hosts: Set[str], *, seconds: float) -> None:
        self._limits, self._budget, self._seconds = limits, budget, seconds
        self._network = _CheckedNetwork(hosts)
        self._running = 0

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    async def fetch(self, url: str) -> Upload:
        """Fetch a file; its name is the last part of the path.

        Raises:
            FetchError: If the URL is not allowed, or gives no file in time.
            UploadError: If the file exceeds the limits or the memory budget.
        """
        if self._running >= _MAX_FETCHES:
            raise FetchError(
                "The server fetches as many files as it can at once. Try again in a minute, or drop the file."
            )
        url, target = _parse(url)
        self._running += 1
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(target, url)
        except TimeoutError as error:
            raise FetchError(
                f"{target.host} did not send the whole file in {self._seconds:g} s. Try again later, or ask "
                "the administrator to raise --fetch-seconds."
            ) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            raise FetchError(
                f"The file could not be fetched: the connection to {target.host} failed. Try again later."
            ) from error
        finally:
            self._running -= 1

    async def _follow(self, target: _Target, url: str) -> Upload:
        async with httpcore.AsyncConnectionPool(self._tls, network_backend=self._network) as pool:
            for _ in range(_MAX_REDIRECTS + 1):
                headers = [("Host", target.authority), ("Accept", "*/*"), ("Accept-Encoding", "identity")]
                address = httpcore.URL(
                    scheme=target.scheme, host=target.host, port=target.port, target=target.path
                )
                times = {"timeout": {"connect": self._seconds}}
                async with pool.stream("GET", address, headers=headers, extensions=times) as answer:
                    if answer.status not in (301, 302, 303, 307, 308):
                        return await self._read(target, answer)
                    found = {name.lower(): value for name, value in answer.headers}
                    location = found.get(b"location", b"").decode("latin-1")
                url, target = _parse(location, url)
        raise FetchError(f"The URL leads to more than {_MAX_REDIRECTS} redirects. Give the file's own URL.")

    async def _read(self, target: _Target, answer: httpcore.Response) -> Upload:
        if answer.status != 200:
            raise FetchError(f"{target.host} answered with status {answer.status}, not with a file.")
        with self._budget.arrival() as arrival, BytesIO() as content:
            async for piece in answer.aiter_stream():
                arrival.add(len(piece))
                content.write(piece)
                self._limits.check_file(target.name, content.tell())
            return arrival.keep(Upload(target.name, content.getvalue()))


def _parse(url: str, base: str = "") -> tuple[str, _Target]:
    """Return the whole URL and its parts; it may be relative to `base`, as in a redirect."""
    try:
        url = urljoin(base, url.strip())
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if ":" not in host:
            host = host.encode("idna").decode("ascii")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        path = quote(path, safe=string.punctuation)  # "%" too: what is encoded stays so
    except ValueError as error:
        raise FetchError("This is not a URL. Give one that begins with http:// or https://.") from error
    if parts.scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc:
        raise FetchError("Give a URL that begins with http:// or https://, without a user name.")
    name = plain_name(unquote(parts.path)) if parts.path.strip("/") else "image"
    return url, _Target(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], path, name)


class _SmallReads(httpcore.AsyncNetworkStream):
    """A connection that is read in small parts.

    What one read brings is parsed in one turn of the event loop. 64 KiB of the smallest chunks would take a
    second.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(min(max_bytes, _READ_BYTES), timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _SmallReads(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to public addresses, and to any address of the named hosts."""

    def __init__(self, hosts: Set[str]) -> None:
        self._hosts = {host.lower() for host in hosts}
        # A name server that does not answer takes these threads, and none that predictions use.
        self._resolvers = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolver")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of a host that answers."""
        addresses = await self._checked_addresses(host)
        seconds = min(_CONNECT_SECONDS, (timeout or _CONNECT_SECONDS) / (len(addresses) + 1))
        for address in addresses:
            try:
                return _SmallReads(
                    await httpcore.AnyIOBackend().connect_tcp(
                        address, port, seconds, local_address, socket_options
                    )
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        raise FetchError(f"{host} cannot be reached. Check the URL, or try again later.")

    async def _checked_addresses(self, host: str) -> list[str]:
        try:
            addresses = await self._resolve(host, socket.AF_UNSPEC)
        except (OSError, ValueError) as error:
            raise FetchError(f"No host has the name {host}. Check the URL.") from error
        if host not in self._hosts:
            translators = await self._translators() if any(":" in one for one in addresses) else []
            if not all(is_public(address, translators) for address in addresses):
                raise FetchError(
                    f"{host} is in a private network, from which this server does not fetch. The "
                    "administrator can allow the host with --url-host."
                )
        return addresses[:_MAX_ADDRESSES]

    async def _resolve(self, host: str, family: socket.AddressFamily) -> list[str]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._resolvers, lambda: socket.getaddrinfo(host, None, family, socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    async def _translators(self) -> list[IPv6Network]:
        """Return the prefixes by which this network reaches IPv4 addresses over IPv6 (RFC 7050)."""
        try:
            found = await self._resolve("ipv4only.arpa", socket.AF_INET6)
        except OSError:
            return []
        return [
            IPv6Network((address, length), strict=False)
            for address in map(IPv6Address, found)
            for length in _NAT64_LENGTHS
            if _embedded(address, length) in _IPV4_ONLY
        ]


def is_public(address: str, translators: Sequence[IPv6Network] = ()) -> bool:
    """Tell whether an address is a host of the public internet.

    Of IPv6, only global unicast addresses are, and translated ones whose IPv4 address is public. Whatever
    else holds an IPv4 address (mapped, compatible, 6to4, Teredo, ISATAP) is not.

    >>> is_public("127.0.0.1"), is_public("64:ff9b::10.0.0.1"), is_public("::ffff:10.0.0.1")
    (False, False, False)
    >>> is_public("1.1.1.1"), is_public("64:ff9b::1.1.1.1"), is_public("2606:4700::1111")
    (True, True, True)
    """
    ip = ip_address(address)
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _SPECIAL_IPV4)
    if ip.scope_id is not None:
        return False
    for prefix in (_NAT64, *translators):
        if ip in prefix:
            return is_public(str(_embedded(ip, prefix.prefixlen)))
    special = any(ip in network for network in _SPECIAL_IPV6)
    return ip in _GLOBAL_UNICAST and not special and ip.packed[8:12] not in _ISATAP


def _embedded(ip: IPv6Address, length: int) -> IPv4Address:
    """Return the IPv4 address after a prefix; it goes around bits 64 to 71 (RFC 6052 section 2.2)."""
    packed = ip.packed[:8] + ip.packed[9:]
    start = length // 8 - (length == 96)
    return IPv4Address(packed[start : start + 4])
