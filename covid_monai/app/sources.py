"""Where images come from beside uploads: a folder of the server, a URL, synthetic examples."""

import http.client
import io
import ipaddress
import os
import socket
import ssl
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import numpy as np

from covid_monai.api.uploads import Limits, MemoryBudget, Upload, UploadError, read_counted
from covid_monai.pacs.deadline import Deadline
from covid_monai.phantoms.file_formats import PhantomPatient, radiograph_dataset
from covid_monai.phantoms.radiograph import draw_radiograph
from covid_monai.readers.image_files import find_image_files

_MAX_FOLDERS = 500
_MAX_REDIRECTS = 3
_EXAMPLE_SIDE = 512  # pixels


class FetchError(ValueError):
    """A URL is not allowed, or gives no file."""


@dataclass(frozen=True)
class ServerFile:
    """An image in the server's folder, read when it is needed."""

    path: Path
    name: str  # path relative to the folder, as the page shows it
    limits: Limits
    budget: MemoryBudget

    def load(self) -> Upload:
        """Read the file; it counts for as long as anybody refers to the upload."""
        self.limits.check_file(self.name, self.path.stat().st_size)
        with self.path.open("rb") as file:
            return read_counted(file, self.name, self.limits, self.budget)


ImageSource = Upload | ServerFile


def folders_below(root: Path) -> list[str]:
    """Return the folder itself (".") and those below it, without hidden ones, relative to `root`."""
    found = ["."]
    for folder, below, _ in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        found += [str((Path(folder) / name).relative_to(root)) for name in below]
        if len(found) >= _MAX_FOLDERS:
            break
    return found[:_MAX_FOLDERS]


def images_in(root: Path, chosen: str, limits: Limits, budget: MemoryBudget) -> list[ServerFile]:
    """Find the files that look like images in one folder below `root`, which is resolved.

    `chosen` comes from the browser and may be anything.

    Raises:
        UploadError: If the folder does not exist, is not below the root by any link, or has no images, or
            too many.
    """
    folder = (root / chosen).resolve()
    if not folder.is_relative_to(root) or not folder.is_dir():
        raise UploadError("This folder does not exist on the server. Choose another one.")
    files = [file for file in find_image_files([folder]).files if file.resolve().is_relative_to(root)]
    if not files:
        raise UploadError("This folder has no DICOM, JPEG or PNG files. Choose another one.")
    limits.check_count(len(files))
    return [ServerFile(file, str(file.relative_to(root)), limits, budget) for file in files]


def fetch(
    url: str, limits: Limits, budget: MemoryBudget, hosts: Set[str] = frozenset(), *, seconds: float
) -> Upload:
    """Fetch a file over http or https, in a number of seconds with all redirects.

    The server resolves a name once, checks every address that it gets, and connects to the checked address,
    after redirects too. A name that resolves to another address a moment later gains nothing. Addresses may
    be private only for the host names in `hosts`.
    """
    deadline = Deadline()
    deadline.start(seconds)
    for _ in range(_MAX_REDIRECTS + 1):
        parts = _checked(url)
        connection = _connect(parts, hosts, deadline)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", target, headers={"Accept-Encoding": "identity"})
            answer = connection.getresponse()
            if answer.status in (301, 302, 303, 307, 308):
                url = urljoin(url, answer.getheader("Location", ""))
                continue
            if answer.status != 200:
                raise FetchError(f"{parts.hostname} answered with status {answer.status}, not with a file.")
            name = unquote(parts.path.rsplit("/", 1)[-1]) or "image"
            limits.check_file(name, int(answer.getheader("Content-Length") or 0))
            return read_counted(answer, name, limits, budget)
        except TimeoutError as error:
            raise _too_slow(parts, deadline) from error
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise FetchError(
                f"The file could not be fetched: the connection to {parts.hostname} failed. Try again later."
            ) from error
        finally:
            connection.close()
    raise FetchError(f"The URL leads to more than {_MAX_REDIRECTS} redirects. Give the file's own URL.")


def _too_slow(parts: SplitResult, deadline: Deadline) -> FetchError:
    return FetchError(
        f"{parts.hostname} did not send the whole file in {deadline.seconds:g} s. Try again later, or ask "
        "the administrator to raise --fetch-seconds."
    )


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        allowed = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
        _ = parts.port  # raises if it is not a number
    except ValueError as error:
        raise FetchError("This is not a URL. Give one that begins with http:// or https://.") from error
    if not allowed:
        raise FetchError("Give a URL that begins with http:// or https://, without a user name.")
    return parts


def _connect(parts: SplitResult, hosts: Set[str], deadline: Deadline) -> http.client.HTTPConnection:
    """Connect to an address of the host that was checked."""
    host = str(parts.hostname)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise FetchError(f"No host has the name {host}. Check the URL.") from error
    addresses = [str(entry[4][0]) for entry in found]
    if host not in hosts and not all(_is_public(address) for address in addresses):
        raise FetchError(
            f"{host} is in a private network, from which this server does not fetch. The administrator can "
            "allow the host with --url-host."
        )
    try:
        plain = socket.create_connection((addresses[0], port), timeout=deadline.left())
        if parts.scheme == "http":
            connection = http.client.HTTPConnection(host, port)
            connection.sock = plain
        else:
            connection = http.client.HTTPSConnection(host, port)
            plain.settimeout(deadline.left())
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    except TimeoutError as error:
        raise _too_slow(parts, deadline) from error
    except OSError as error:
        raise FetchError(f"{host} cannot be reached. Check the URL, or try again later.") from error
    connection.response_class = deadline.response_class  # type: ignore[assignment]  # called as a class is
    return connection


def _is_public(address: str) -> bool:
    """Tell whether an address is not loopback, private, link-local, multicast or reserved.

    >>> _is_public("127.0.0.1"), _is_public("169.254.169.254"), _is_public("::ffff:10.0.0.1")
    (False, False, False)
    >>> _is_public("1.1.1.1")
    True
    """
    ip = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    return ip.is_global and not ip.is_multicast


class Example(NamedTuple):
    """A synthetic image to try the page with: a program draws it when it is asked for, no patient."""

    title: str
    class_name: str  # class that is drawn; the model may predict another one
    seed: int
    turned: bool = False  # whether the image lies on its side, so that the gate refuses it

    def draw(self) -> Upload:
        """Draw it as a DICOM file of a synthetic patient."""
        image = draw_radiograph(self.class_name, seed=self.seed, size=_EXAMPLE_SIDE)
        image = np.ascontiguousarray(np.rot90(image)) if self.turned else image
        patient = PhantomPatient(f"PHANTOM-{self.seed:04d}", "M", 50, self.seed)
        buffer = io.BytesIO()
        radiograph_dataset(image, patient, number=1, view="PA").save_as(buffer)
        return Upload(f"synthetic-{self.title.lower().replace(' ', '-')}.dcm", buffer.getvalue())


EXAMPLES = (
    Example("Clear lungs", "normal", 4),
    Example("One lobe dense", "pneumonia", 1),
    Example("Haze on both sides", "covid", 2),
    Example("Hard to tell", "covid", 13),
    Example("Lying on its side", "normal", 7, turned=True),
)
