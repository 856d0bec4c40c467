"""What `covid-monai worker check` asks of an archive; it leaves nothing there."""

import ipaddress
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import requests
from pydicom import dcmread
from pydicom.uid import UID

from covid_monai.core.errors import first_line
from covid_monai.core.vocabulary import Status
from covid_monai.pacs.client import ArchiveClient
from covid_monai.pacs.failures import Trouble
from covid_monai.readers.sandbox import DecodeSandbox
from covid_monai.worker.check.result import Finding, failure, fine, warning
from covid_monai.worker.feeds import DicomWebSearch
from covid_monai.worker.queue.queue import Job
from covid_monai.worker.rules import Notice
from covid_monai.worker.settings import Archive, Settings, SettingsError

_IMAGES = 5  # fetched to see in which transfer syntaxes they come
# No DICOM in it: an archive that lets us store refuses it for that, one that does not refuses us.
_NOTHING = (
    b"--x\r\nContent-Type: application/dicom\r\n\r\nnot a DICOM object: covid-monai worker check\r\n--x--\r\n"
)
_ANSWERS = {
    "http_401": "it does not accept the credentials: check username and password, or the token",
    "http_403": "it knows who asks, but does not allow this: give the service's account the right",
    "http_404": "there is no such service at this address: check url and dicomweb_url",
    "http_405": "there is no such service at this address: check url and dicomweb_url",
    "http_501": "it does not offer this service: ask its vendor",
    "SSLError": "its certificate is not trusted, or ours is refused: check ca_file and client_certificate",
    "ConnectTimeout": "nothing answers there in time: check address, firewall and timeout_seconds",
    "ReadTimeout": "it takes too long: check whether it is busy, or raise timeout_seconds",
    "ConnectionError": "no connection: check address, port and firewall, and whether it runs",
    "TooManyRedirects": "it sends us elsewhere: give the final address",
}


def archive_findings(settings: Settings, archive: Archive) -> Iterator[Finding]:
    """Try an archive; stops at what makes the rest pointless."""
    name = f"Archive {archive.name}"
    try:
        client = ArchiveClient(archive, max_object_bytes=settings.limits.object_mib << 20)
    except (SettingsError, OSError) as error:
        yield failure(f"{name}: {first_line(error).removeprefix(f'archive {archive.name}: ')}")
        return
    if archive.secret() and not _safe_way(archive):
        yield warning(f"{name}: credentials travel unencrypted over http; use https beyond this machine.")
    if archive.source == "orthanc":
        finding = _orthanc(client, name)
        yield finding
        if finding.failed:
            return
    try:
        notices = _search(client, settings)
    except Trouble as trouble:
        yield failure(f"{name}: searching (QIDO-RS at {archive.dicomweb}) fails: {_explain(trouble)}.")
        return
    yield fine(f"{name}: searching works; {len(notices)} of the first images found would be answered.")
    yield _fetch(client, settings, notices, name)
    yield _store(client, name)


def _safe_way(archive: Archive) -> bool:
    parts = urlsplit(archive.url)
    try:
        local = ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        local = parts.hostname == "localhost"
    return parts.scheme == "https" or local


def _explain(trouble: Trouble) -> str:
    return _ANSWERS.get(trouble.reason, f"it answers {trouble.reason.replace('_', ' ')}")


def _orthanc(client: ArchiveClient, name: str) -> Finding:
    try:
        system = client.get_json("/system")
        last = client.get_json("/changes?last")["Last"]
    except Trouble as trouble:
        return failure(
            f"{name}: Orthanc's change feed at {client.archive.url} cannot be read: {_explain(trouble)}."
        )
    version = str(system.get("Version", "unknown"))
    text = f"{name}: Orthanc {version} answers; its change feed stands at {last}."
    if version.startswith("1.10."):
        return warning(
            f"{text} This version crashes when asked to decode JPEG 2000 with its GDCM plugin; this service "
            "never asks for that, but viewers may. Upgrade, or set IngestTranscoding."
        )
    return fine(text)


def _search(client: ArchiveClient, settings: Settings) -> list[Notice]:
    """Images that would be answered, of the first page; of Orthanc, which is not searched by date, of all."""
    today = date.today if client.archive.source == "dicomweb" else lambda: date(1910, 1, 1)
    source = DicomWebSearch(client, settings.rules_of(client.archive), today=today)
    notices, _ = next(source.pages(None), ([], None))
    return [notice for notice in notices if not notice.refusal]


def _fetch(client: ArchiveClient, settings: Settings, notices: list[Notice], name: str) -> Finding:
    if not notices:
        return warning(
            f"{name}: no image was found that would be answered, so fetching (WADO-RS) was not tried. If "
            "there should be some, look at rules and days."
        )
    limits = settings.limits
    check = DecodeSandbox(seconds=limits.decode_seconds, memory_mib=limits.decode_memory_mib)
    syntaxes, unreadable = set(), 0
    try:
        with tempfile.TemporaryDirectory(dir=settings.state_dir) as folder:
            for number, notice in enumerate(notices[:_IMAGES]):
                path = Path(folder) / f"{number}.dcm"
                client.fetch(_job(notice, client.archive.name), path)
                unreadable += check.check(path).status is Status.ERROR
                syntaxes.add(_transfer_syntax(path))
    except Trouble as trouble:
        return failure(f"{name}: an image that was found cannot be fetched (WADO-RS): {_explain(trouble)}.")
    finally:
        check.close()
    text = f"{name}: fetching works, as stored ({', '.join(sorted(syntaxes))})"
    if unreadable:
        return warning(
            f"{text}, but {unreadable} of {min(len(notices), _IMAGES)} images cannot be decoded here."
        )
    if not any("JPEG 2000" in syntax for syntax in syntaxes):
        return fine(f"{text}; no JPEG 2000 was among them, so that was not tried.")
    return fine(f"{text}; JPEG 2000 is delivered and decoded.")


def _transfer_syntax(path: Path) -> str:
    try:
        meta = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"]).file_meta
        return UID(str(meta.TransferSyntaxUID)).name
    except Exception:  # pydicom raises many types for damaged files
        return "unknown"


def _job(notice: Notice, archive: str) -> Job:
    return Job(0, archive, notice.study, notice.series, notice.instance, noticed=0, starts=0, attempts=0)


def _store(client: ArchiveClient, name: str) -> Finding:
    """Send something that cannot be stored: the refusal tells whether we might store."""
    kind = 'multipart/related; type="application/dicom"; boundary=x'
    headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
    try:
        answer = client.session.post(f"{client.archive.dicomweb}/studies", data=_NOTHING, headers=headers)
    except requests.RequestException as error:
        reason = type(error).__name__
        return failure(f"{name}: storing (STOW-RS) fails: {_ANSWERS.get(reason, reason)}.")
    reason = f"http_{answer.status_code}"
    if reason in _ANSWERS or answer.status_code >= 500:
        return failure(f"{name}: storing (STOW-RS) fails: {_ANSWERS.get(reason, f'it answers {reason}')}.")
    return fine(
        f"{name}: storing (STOW-RS) is allowed; the object that was sent to try it is none, and was refused."
    )
