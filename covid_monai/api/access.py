"""Who may use the service, and from where: names of the server, web pages, API keys, requests per minute."""

import base64
import hashlib
import hmac
import math
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path

from starlette.types import Scope

from covid_monai.api.problems import KINDS, ProblemError
from covid_monai.core.request_origin import (
    host_name,
    is_address,
    is_foreign_page,
    is_own_name,
    joined_headers,
    normal_origin,
)

_LINKED_PATHS = frozenset({"/", "/docs"})  # a link on another site may lead to these
_OPEN_PATHS = frozenset(
    {"/health", "/health/ready", *(f"/problems/{kind}" for kind in KINDS)}
)  # without a key
# For browsers. Chromium reads only the first of several challenges in a header.
_CHALLENGE = 'Basic realm="covid-monai", charset="UTF-8"'
_KEY_LINE = re.compile(r"([A-Za-z0-9._-]{1,64}):([A-Za-z0-9._~+/=-]{20,})")
_USED_BY_OTHERS = 0o027  # group: write; all others: anything
_MAX_CALLERS = 1000  # whose requests are counted


class ApiKeys:
    """API keys by name; only their SHA-256 digests are kept."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._digests = {name: _digest(key) for name, key in keys.items()}

    @classmethod
    def read(cls, path: Path) -> "ApiKeys":
        """Read a file with one `NAME:KEY` per line; empty lines and lines that begin with # are left out.

        Raises:
            FileNotFoundError: If there is no file.
            ValueError: If other users can read the file, or a line is not valid. No message quotes a key.
        """
        if not path.exists() or path.is_dir():  # a pipe of the shell is good, too
            problem = "is a folder" if path.is_dir() else "does not exist"
            raise FileNotFoundError(
                f"The file {path} of API keys {problem}. Make a file with a line NAME:KEY for each user."
            )
        if path.stat().st_mode & _USED_BY_OTHERS:
            raise ValueError(
                f"{path} holds API keys, but other users can read or change it. Run: chmod 600 {path}"
            )
        keys: dict[str, str] = {}
        # Not ASCII: no key has such signs, so that the line is refused below, unless it is a comment.
        text = path.read_text("utf-8-sig", errors="replace")
        for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
            if not line or line.startswith("#"):
                continue
            found = _KEY_LINE.fullmatch(line)
            if found is None:
                raise ValueError(
                    f"{path}, line {number} is not NAME:KEY. A key has at least 20 letters, digits or "
                    "signs of ._~+/=- and can be made by: openssl rand -hex 32"
                )
            name, key = found.groups()
            if name in keys or key in keys.values():
                raise ValueError(
                    f"{path}, line {number} repeats a name or a key. Give each name its own key."
                )
            keys[name] = key
        if not keys:
            raise ValueError(f"{path} has no API key. Add lines of the form NAME:KEY.")
        return cls(keys)

    def name_of(self, authorization: str) -> str | None:
        """Return the name of the key in a header `Authorization`; None if it has no valid key.

        Programs send `Bearer KEY`. Browsers ask for a user and a password, which are name and key (`Basic`).
        All keys are compared, each in constant time.
        """
        scheme, _, given = authorization.partition(" ")
        user = None
        if scheme.lower() == "basic":
            user, _, given = _decode_basic(given.strip()).partition(":")
        elif scheme.lower() != "bearer":
            return None
        digest = _digest(given.strip())
        names = [name for name, known in self._digests.items() if hmac.compare_digest(digest, known)]
        return names[0] if names and user in (None, names[0]) else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _decode_basic(given: str) -> str:
    try:
        return base64.b64decode(given, validate=True).decode("utf-8")
    except ValueError:  # not base64, or not UTF-8
        return ""


class RateLimit:
    """Counts the requests of each caller: at most a number within any 60 seconds.

    The package `limits` does the same by the time of day, which may jump, and without a bound for the number
    of callers.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute, self._clock = per_minute, clock
        self._times: dict[str, deque[float]] = {}  # of the accepted requests; the last caller is at the end

    def count(self, caller: str) -> float:
        """Count a request and return 0, or return the seconds until the caller's next one is accepted."""
        now, times = self._clock(), self._times.pop(caller, None) or deque()
        self._times[caller] = times
        if len(self._times) > _MAX_CALLERS:
            del self._times[next(iter(self._times))]
        while times and times[0] <= now - 60:
            times.popleft()
        if len(times) >= self._per_minute:
            return times[0] + 60 - now
        times.append(now)
        return 0


@dataclass(frozen=True)
class Access:
    """Rules about who may use the service.

    Attributes:
        loopback: Whether it listens on loopback only; see `is_own_name`.
        public_urls: Other addresses of the service, such as that of a reverse proxy.
        keys: API keys; without them everybody may use it.
        requests_per_minute: Largest number for each key, or for each address without keys.
    """

    loopback: bool = True
    public_urls: tuple[str, ...] = ()
    keys: ApiKeys | None = None
    requests_per_minute: int | None = None

    def __post_init__(self) -> None:
        for url in self.public_urls:
            if normal_origin(url.rstrip("/")) is None:
                raise ValueError(
                    f"--public-url {url} is not the address of a server. Give scheme, name and port, without "
                    "a path, such as https://images.example or http://images.example:8080."
                )

    @cached_property
    def _origins(self) -> frozenset[str]:
        return frozenset(str(normal_origin(url.rstrip("/"))) for url in self.public_urls)

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(str(host_name(origin.partition("://")[2])) for origin in self._origins)

    @cached_property
    def _limit(self) -> RateLimit | None:
        return RateLimit(self.requests_per_minute) if self.requests_per_minute else None

    def check(self, scope: Scope) -> str | None:
        """Return the name of the request's API key, or None where none is needed.

        Raises:
            ProblemError: If the request is not accepted.
        """
        headers = joined_headers(scope["headers"])
        self._check_host(headers)
        if is_foreign_page(headers, self._origins) and not _follows_link(scope, headers):
            raise ProblemError(
                "other-origin",
                "A web page of another origin has sent this request. Open the address of this service. "
                "Behind a reverse proxy, start the service with --public-url.",
            )
        caller = self._check_key(scope, headers)
        self._check_rate(scope, caller)
        return caller

    def _check_host(self, headers: Mapping[str, str]) -> None:
        name = host_name(headers.get("host", ""))
        if name is None:
            raise ProblemError("bad-host", "Send one header Host with the name and port of this service.")
        if not is_own_name(name, self._names, loopback=self.loopback):
            here = "localhost or 127.0.0.1" if self.loopback else "the address of this machine"
            raise ProblemError(
                "other-host",
                f"This service has another name. Use {here}, or start the service with --public-url.",
            )

    def _check_key(self, scope: Scope, headers: Mapping[str, str]) -> str | None:
        if self.keys is None or (scope.get("method") == "GET" and scope["path"] in _OPEN_PATHS):
            return None
        caller = self.keys.name_of(headers.get("authorization", ""))
        if caller is None:
            raise ProblemError(
                "no-key",
                "Send a valid API key in the header Authorization: Bearer KEY. In a browser, the user is the "
                "name of the key, and the password is the key.",
                headers={"WWW-Authenticate": _CHALLENGE},
            )
        return caller

    def _check_rate(self, scope: Scope, caller: str | None) -> None:
        path, method = scope["path"], scope.get("method")
        sends_file = method == "POST" and path.startswith("/_covid_monai/")
        if self._limit is None or not (path.startswith("/v1/") or sends_file):
            return
        seconds = math.ceil(self._limit.count(caller or _client(scope)))
        if seconds:
            raise ProblemError(
                "too-many-requests",
                f"More than {self.requests_per_minute} requests have come within a minute. Try again in "
                f"{seconds} s.",
                headers={"Retry-After": str(seconds)},
            )


def _follows_link(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Tell whether a person opens a page of the service by a link on another site, in a window of its own."""
    asked = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest"), headers.get("origin"))
    known = scope.get("method") == "GET" and scope["path"] in _LINKED_PATHS
    return known and asked == ("navigate", "document", None)


def _client(scope: Scope) -> str:
    """Return the address of a client; for IPv6 its network, because one client has as many as it likes."""
    host = (scope.get("client") or ("",))[0]
    return str(ip_network((host, 64), strict=False)) if ":" in host and is_address(host) else str(host)
