"""`covid-monai worker check`: try everything that the service will need; nothing is changed."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import requests
from pydicom.uid import UID

from covid_monai.bundle.shipped import find_bundle
from covid_monai.core.atomic_files import make_private_folder
from covid_monai.core.errors import first_line
from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import RefusedImage, Status, UnreadableImage
from covid_monai.dicom.file import read_dicom
from covid_monai.pacs.client import ArchiveClient, classify_failures
from covid_monai.pacs.connection import CredentialsError, is_uid
from covid_monai.pacs.failures import ArchiveFailure
from covid_monai.pacs.storing import STORE_HEADERS, store_message
from covid_monai.readers.sandbox import DecodeSandbox
from covid_monai.worker.feeds import next_page
from covid_monai.worker.inspection.reasons import find_meaning
from covid_monai.worker.permissions import find_loose_permissions
from covid_monai.worker.queue import JobQueue, queue_path
from covid_monai.worker.rules import Notice
from covid_monai.worker.search import ARCHIVE_DEFECTS, DicomWebSearch, search_begin
from covid_monai.worker.settings import Archive, Settings

_GIB = 1 << 30
_SPARE_BYTES = _GIB  # for the queue and the audit trail
_ALL_DAYS = 40_000  # more than a century
_MAX_IMAGES = 5  # fetched to see their transfer syntaxes
# Not a DICOM object: an archive that lets us store refuses it for that; any other archive refuses us.
_NO_OBJECT = store_message([b"not a DICOM object: covid-monai worker check"])
_ENCRYPTED_OR_LOCAL = re.compile(r"https:|http://(localhost|127(\.\d+){3}|\[::1\])([:/]|$)", re.IGNORECASE)
_FROM_THE_EXAMPLE = "change-me"  # of deploy/worker/orthanc.json
_NO_SERVICE = "there is no such service at this address. Check url and dicomweb_url"
_EXPLANATIONS = {  # where a request of the check means something else than one of the service
    "http_404": _NO_SERVICE,
    "http_405": _NO_SERVICE,
    "http_501": "the archive does not offer this service. Ask its vendor",
    "too_large": "the answer is too large. Set fewer days, or ask the vendor whether it ignores `limit`",
}


@dataclass(frozen=True)
class CheckResult:
    """Result of one check."""

    level: str  # `ok`, `note` (the service will work, but a person should know) or `FAIL`
    text: str  # what was found and, if it is wrong, what to do


_ok, _note, _fail = (partial(CheckResult, level) for level in ("ok", "note", "FAIL"))


def run_checks(settings: Settings, config: Path) -> Iterator[CheckResult]:
    """Try what the service will need, one thing after another; nothing that exists is changed.

    `config` is the file of the settings.
    """
    yield _check_bundle(settings)
    yield from _check_folders(settings)
    yield from _check_permissions(settings, config)
    for archive in settings.archives:
        yield from _check_archive(settings, archive)


def _check_bundle(settings: Settings) -> CheckResult:
    from covid_monai.worker.context import Model

    try:
        folder = find_bundle(settings.bundle)
        model = Model(settings, folder)
    except Exception as error:  # noqa: BLE001  # whatever is wrong with a bundle is a finding
        return _fail(f"The bundle cannot be used: {first_line(error)}")
    if model.reference is None:
        return _note(
            f"The bundle {folder} works, but it has no models/score_reference.json. There will be no drift "
            "metric. Train the bundle again to get one."
        )
    return _ok(f"The bundle {folder} loads. Its classes are {', '.join(model.class_names)}.")


def _check_folders(settings: Settings) -> Iterator[CheckResult]:
    folder = settings.state_dir
    try:
        make_private_folder(folder)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield _fail(
            f"The state folder {folder} cannot be written ({error.strerror}). Make it writable for the user "
            "of the service, or free some space."
        )
        return
    yield _check_space(settings)
    yield _check_queue(folder)
    yield _check_audit_file(settings.audit_file)


def _check_space(settings: Settings) -> CheckResult:
    batches = sum(archive.connections for archive in settings.archives)
    needed = batches * settings.batch_size * (settings.limits.object_mib << 20) + _SPARE_BYTES
    free = shutil.disk_usage(settings.state_dir).free
    text = f"{settings.state_dir} has {free / _GIB:.1f} GiB of free space. The service needs at most "
    text += f"{needed / _GIB:.1f} GiB."
    if free < needed:
        return _note(f"{text} Free some space, or set a lower limits.object_mib or batch_size.")
    return _ok(text)


def _check_queue(state_dir: Path) -> CheckResult:
    if not queue_path(state_dir).exists():
        return _ok("There is no queue yet. The first start of the worker makes it.")
    try:
        queue = JobQueue(state_dir)
    except (ValueError, OSError) as error:
        return _fail(f"The queue cannot be used: {first_line(error)}")
    waiting, dead = (sum(counts.values()) for counts in (queue.count("waiting"), queue.count("dead")))
    queue.close()
    text = f"The queue is intact. It holds {format_count(waiting, 'waiting image')}"
    if dead:
        letters = format_count(dead, "dead letter")
        return _note(f"{text} and {letters}. See covid-monai worker dead-letters list.")
    return _ok(f"{text}.")


def _check_audit_file(path: Path) -> CheckResult:
    existing = path if path.exists() else path.parent
    if os.access(existing, os.W_OK):
        return _ok(f"The audit trail is {path}.")
    return _fail(
        f"The audit trail {path} cannot be written. Make {existing} writable for the user of the service."
    )


def _check_permissions(settings: Settings, config: Path) -> Iterator[CheckResult]:
    problems = [_note(text) for text in find_loose_permissions(settings, config)]
    yield from problems or [_ok("No other user can read passwords, keys, queue and audit trail.")]


def _check_archive(settings: Settings, archive: Archive) -> Iterator[CheckResult]:
    """Try an archive; stop when the other checks cannot succeed."""
    name = f"Archive {archive.name}"
    try:
        client = ArchiveClient(archive, max_object_bytes=settings.limits.object_mib << 20)
    except (CredentialsError, OSError) as error:
        yield _fail(f"{name}: {first_line(error).removeprefix(f'archive {archive.name}: ')}")
        return
    if archive.read_secret() == _FROM_THE_EXAMPLE:
        yield _fail(f"{name}: the password is that of the example. Set another one, in the archive too.")
    if archive.read_secret() and not _ENCRYPTED_OR_LOCAL.match(archive.url):
        yield _note(f"{name}: credentials are sent without encryption. Use https.")
    service = f"Orthanc's change feed at {archive.url}"
    try:
        if archive.source == "orthanc":
            yield _check_change_feed(client, name)
        service = f"searching (QIDO-RS at {archive.dicomweb_root})"
        search = _search_of(archive, client, settings)
        notices, _ = next_page(search.pages(None)) or ([], None)
        yield _check_start(settings, archive, client)
    except ArchiveFailure as failure:
        yield _fail(f"{name}: {service} fails: {_explain(failure.reason)}.")
        return
    notices = [notice for notice in notices if not notice.refusal]
    selected = format_count(len(notices), "image")
    yield _ok(f"{name}: searching works. On the first page, the rules select {selected}.")
    for defect in sorted(search.defects) if archive.source == "dicomweb" else ():
        yield _note(f"{name}: the search has a defect: {ARCHIVE_DEFECTS[defect]}.")
    yield _check_fetching(client, settings, notices, name)
    yield _check_storing(client, name)


def _explain(reason: str) -> str:
    meaning = _EXPLANATIONS.get(reason) or find_meaning(reason)
    return meaning or f"the archive answers {reason.replace('_', ' ')}"


def _check_change_feed(client: ArchiveClient, name: str) -> CheckResult:
    with classify_failures():
        version = str(client.get_json("/system").get("Version") or "")
        last = int(client.get_json("/changes?last")["Last"])
    if not re.fullmatch(r"[\w.+-]{1,32}", version, re.ASCII):  # text from outside reaches a terminal
        version = "of an unknown version"
    text = f"{name}: Orthanc {version} answers. Its last change is number {last}."
    if version.startswith("1.10."):
        return _note(
            f"{text} With the GDCM plugin, this version crashes when it must decode JPEG 2000. The worker "
            "never asks for that, but a viewer may. Upgrade Orthanc, or set IngestTranscoding."
        )
    return _ok(text)


def _search_of(archive: Archive, client: ArchiveClient, settings: Settings) -> DicomWebSearch:
    if archive.source == "orthanc":  # its change feed has no first day, so all studies are searched
        archive = archive.model_copy(update={"days": _ALL_DAYS})
    return DicomWebSearch(archive, client, settings.rules_of(archive))


def _check_start(settings: Settings, archive: Archive, client: ArchiveClient) -> CheckResult:
    """Say which images the service will answer, and which it will skip by design."""
    name = f"Archive {archive.name}"
    if archive.source == "dicomweb":
        day = search_begin(archive)
        return _note(
            f"{name}: images of studies since {day:%Y-%m-%d} are answered, also those that are there; "
            f"older studies are skipped (days: {archive.days}). The key start has no effect on a search."
        )
    position = None
    if queue_path(settings.state_dir).exists():
        with suppress(ValueError, OSError):  # the check of the queue tells
            queue = JobQueue(settings.state_dir)
            position = queue.position(archive.name)
            queue.close()
    if position is not None and position.isdigit():
        return _ok(f"{name}: the worker goes on behind change number {position}.")
    if archive.start == "beginning":
        return _note(f"{name}: the first start answers all images that are there (start: beginning).")
    return _note(
        f"{name}: images that are stored after the first start of the worker are answered. Those that are "
        f"there already are skipped (start: now){_count_objects(client)}."
    )


def _count_objects(client: ArchiveClient) -> str:
    with suppress(ArchiveFailure), classify_failures():
        return f": {format_count(int(client.get_json('/statistics')['CountInstances']), 'object')} until now"
    return ""


def _check_fetching(
    client: ArchiveClient, settings: Settings, notices: list[Notice], name: str
) -> CheckResult:
    notices = notices[:_MAX_IMAGES]
    if not notices:
        return _note(
            f"{name}: fetching (WADO-RS) was not tried, because the search found no image that the rules "
            "select. If there should be one, check rules and days."
        )
    limits = settings.limits
    sandbox = DecodeSandbox(seconds=limits.decode_seconds, memory_mib=limits.decode_memory_mib)
    syntaxes, unreadable = set(), 0
    try:
        with tempfile.TemporaryDirectory(dir=settings.state_dir) as folder:
            for number, notice in enumerate(notices):
                path = Path(folder) / f"{number}.dcm"
                with path.open("wb") as file:
                    client.fetch(notice.address, file)
                unreadable += sandbox.check(path).status is Status.ERROR
                syntaxes.add(_transfer_syntax(path))
    except ArchiveFailure as failure:
        return _fail(f"{name}: fetching an image (WADO-RS) fails: {_explain(failure.reason)}.")
    finally:
        sandbox.close()
    text = f"{name}: fetching works. Transfer syntaxes: {', '.join(sorted(syntaxes))}."
    if unreadable:
        return _note(f"{text} {unreadable} of {len(notices)} fetched images cannot be decoded here.")
    if "JPEG 2000" not in text:
        return _ok(f"{text} No image was in JPEG 2000, so JPEG 2000 was not tried.")
    return _ok(f"{text} JPEG 2000 can be fetched and decoded.")


def _transfer_syntax(path: Path) -> str:
    try:
        uid = UID(str(read_dicom(path, stop_before_pixels=True).file_meta.TransferSyntaxUID))
        return uid.name if is_uid(uid) else "unknown"
    except (RefusedImage, UnreadableImage):
        return "unknown"


def _check_storing(client: ArchiveClient, name: str) -> CheckResult:
    """Send a body that cannot be stored; how the archive refuses it shows whether we may store."""
    try:
        url = f"{client.connection.dicomweb_root}/studies"
        status = client.session.post(url, data=_NO_OBJECT, headers=STORE_HEADERS).status_code
        reason = f"http_{status}"
    except requests.RequestException as error:
        status, reason = 599, type(error).__name__
    if reason in _EXPLANATIONS or status in (401, 403) or status >= 500:
        return _fail(f"{name}: storing (STOW-RS) fails: {_explain(reason)}.")
    return _ok(
        f"{name}: storing (STOW-RS) is allowed. Our test message was no DICOM object, so nothing was stored."
    )
