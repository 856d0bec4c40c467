"""`covid-monai worker explain UID`: what became of an image, a study or a result, and why."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from covid_monai.core.number_format import format_count
from covid_monai.pacs.client import ArchiveClient, first_value
from covid_monai.pacs.connection import is_uid
from covid_monai.pacs.failures import ArchiveFailure
from covid_monai.worker.inspection.audit_lines import AuditLine, AuditReader
from covid_monai.worker.inspection.queue_view import JobRow, QueueView, open_queue_view
from covid_monai.worker.inspection.reasons import explain_reason
from covid_monai.worker.inspection.status import format_age, format_time
from covid_monai.worker.queue import is_state_dir_locked
from covid_monai.worker.rules import OLDER, SKIPPED
from covid_monai.worker.search import SEARCHED, judge_item, search_begin
from covid_monai.worker.settings import Archive, Settings

Document = dict[str, Any]
_STATES = {"done": "answered", "dead": "dead_letter"}  # others as the queue names them
_MOST_IMAGES = 100  # of a study that are asked of an archive


def explain(settings: Settings, uid: str) -> Document:
    """Return what is known of a UID, as the document of `--json`.

    Queue and audit trail are read first. If neither knows the UID, the archives are asked.

    Raises:
        ValueError: If the text is not a UID, or the queue is damaged.
        OSError: If this user may not read queue or audit trail, or another program has locked the queue.
    """
    if not is_uid(uid):
        raise ValueError(
            f"{uid!r} is not a UID. Give a Study or SOP Instance UID: digits and dots, 64 characters at most."
        )
    with open_queue_view(settings.state_dir) as view:
        jobs = view.find(uid)
        reader = AuditReader(settings.audit_file, settings.state_dir)
        lines = reader.lines_about([uid, *(job.instance for job in jobs)])
        images = [_of_job(job, view, lines, reader) for job in jobs]
    told = [line for image in images for line in image["audit"]]
    known = dict.fromkeys(reader.names_of(uid), uid)
    images += _of_other_lines([line for line in lines if line not in told], known)
    not_asked: Document = {}
    if not images:
        images, not_asked = _ask_archives(settings, uid)
    is_running = is_state_dir_locked(settings.state_dir)
    return {"uid": uid, "worker_running": is_running, "images": images, "archives_not_asked": not_asked}


def _of_job(job: JobRow, view: QueueView, lines: Sequence[AuditLine], reader: AuditReader) -> Document:
    names = reader.names_of(job.instance)
    state = _state_of(job)
    waits = state == "waiting"
    return _image(
        job.archive,
        state,
        reason=job.reason,
        job=job.number,
        study_instance_uid=job.study or None,
        sop_instance_uid=job.instance,
        noticed=job.noticed,
        finished=job.finished,
        failed_tries=job.attempts + job.deferrals,
        next_try=job.not_before if waits and job.not_before > time.time() else None,
        images_before=view.count_before(job) if waits else None,
        results=view.results_of(job),
        audit=[
            line for line in lines if line.get("instance") in names and line.get("archive") == job.archive
        ],
    )


def _state_of(job: JobRow) -> str:
    if job.state == "waiting":
        return "in_work" if job.starts else "waiting"
    if job.state == "refused" and not job.starts:  # before anything was fetched
        return "skipped" if job.reason in SKIPPED else "not_selected"
    return _STATES.get(job.state, job.state)


def _image(archive: str, state: str, *, reason: str | None, **values: Any) -> Document:
    """Return one image of the document; every image has the same keys."""
    keys = (
        "job",
        "study_instance_uid",
        "sop_instance_uid",
        "noticed",
        "finished",
        "failed_tries",
        "next_try",
    )
    empty: Document = {**dict.fromkeys((*keys, "images_before")), "results": [], "audit": []}
    explanation = explain_reason(reason) if reason else None
    return {
        "archive": archive,
        "state": state,
        "reason": reason,
        "explanation": explanation,
        **empty,
        **values,
    }


def _of_other_lines(lines: Sequence[AuditLine], known: Mapping[str, str]) -> list[Document]:
    """Return the images that only the audit trail knows: not selected, skipped, or forgotten by the queue.

    `known` gives UIDs for names in the trail. Others stay as the trail writes them, which may be as hashes.
    """
    groups: dict[tuple[str, str], list[AuditLine]] = {}
    for line in lines:
        groups.setdefault((str(line.get("archive")), str(line.get("instance"))), []).append(line)
    return [
        _image(
            archive,
            "not_selected" if group[-1].get("by") == "rules" else str(group[-1].get("event")),
            reason=group[-1].get("reason"),
            study_instance_uid=known.get(group[-1].get("study", ""), group[-1].get("study")),
            sop_instance_uid=known.get(instance, instance),
            results=group[-1].get("results", []),
            audit=group,
        )
        for (archive, instance), group in groups.items()
    ]


def _ask_archives(settings: Settings, uid: str) -> tuple[list[Document], Document]:
    """Return the images that the archives have under a UID, and why an archive did not answer."""
    images, not_asked = [], {}
    for archive in settings.archives:
        client = ArchiveClient(archive, max_object_bytes=settings.limits.object_mib << 20)
        try:
            found = next(
                (
                    items
                    for key in ("SOPInstanceUID", "StudyInstanceUID")
                    if (items := _search(client, key, uid))
                ),
                [],
            )
        except ArchiveFailure as failure:
            not_asked[archive.name] = {
                "reason": failure.reason,
                "explanation": explain_reason(failure.reason),
            }
            continue
        images += [_of_archive(settings, archive, item) for item in found]
    return images, not_asked


def _search(client: ArchiveClient, keyword: str, uid: str) -> list[Document]:
    found = client.search({keyword: uid}, SEARCHED, limit=_MOST_IMAGES, offset=0)
    return [item for item in found if first_value(item, keyword) == uid]  # an archive may ignore the filter


def _of_archive(settings: Settings, archive: Archive, item: Document) -> Document:
    notice = judge_item(item, settings.rules_of(archive))
    reason = notice.refusal
    study_date = first_value(item, "StudyDate").replace(".", "")
    if reason is None and archive.source == "dicomweb" and study_date < f"{search_begin(archive):%Y%m%d}":
        reason = OLDER
    return _image(
        archive.name,
        "not_selected" if reason else "not_noticed",
        reason=reason,
        study_instance_uid=notice.address.study_instance_uid,
        sop_instance_uid=notice.address.sop_instance_uid,
    )


_WORDS = {
    "answered": "It was answered, and the archive has confirmed the results",
    "refused": "It was refused: there is no class",
    "skipped": "It was skipped by design",
    "waiting": "It waits",
    "in_work": "It is in work",
    "dead_letter": "It was given up (dead letter)",
    "dropped": "It was given up, and a person has dropped it: it gets no result",
    "retried": "A person has put it back into the queue",
    "not_selected": "The worker does not answer it",
    "not_noticed": (
        "The archive has it, and the rules select it, but neither queue nor audit trail knows it. It was "
        "there before the worker's first start, it has just come, or the queue has forgotten it (keep_days)"
    ),
}


def explanation_lines(document: Document) -> Iterator[str]:
    """Yield the document as lines for people."""
    now = time.time()
    for image in document["images"]:
        number = f", job {image['job']}" if image["job"] else ""
        yield f"Object {image['sop_instance_uid']} in archive {image['archive']}{number}"
        yield f"  {_WORDS.get(image['state'], image['state'])}{_after_state(image, now)}."
        if image["state"] in ("waiting", "in_work") and not document["worker_running"]:
            yield "  The worker is not running: start it."
        if image["reason"]:
            yield f"  Reason: {image['reason']}. {image['explanation']}".rstrip()
        for line in image["audit"]:
            yield f"  {_describe_line(line)}"
        for uid in image["results"]:
            yield f"  Result {uid}{' (this is the UID that you gave)' if uid == document['uid'] else ''}"
    for name, failure in document["archives_not_asked"].items():
        yield f"Archive {name} could not be asked: {failure['reason']}. {failure['explanation']}".rstrip()


def _after_state(image: Document, now: float) -> str:
    if image["state"] == "waiting":
        tries = format_count(image["failed_tries"], "try has", "tries have")
        before = format_count(image["images_before"], "image")
        text = f", noticed {format_age(now - image['noticed'])} ago, with {before} before it"
        text += f"; {tries} failed" if image["failed_tries"] else ""
        return text + (f"; next try in {format_age(image['next_try'] - now)}" if image["next_try"] else "")
    return f", {format_time(image['finished'])}" if image["finished"] else ""


def _describe_line(line: AuditLine) -> str:
    """Return a line of the audit trail as text: time, event, and for an answer what the classifier said."""
    text = f"{line.get('time')}  {line.get('event')}"
    if line.get("event") == "answered":
        calls = {"True": "abnormal", "False": "not abnormal"}
        call = calls.get(str(line.get("abnormal")), "uncertain")
        text += f": {call}, cause {line.get('cause') or 'not told'}"
    by = f" by the {line['by']}" if line.get("by") else ""
    reason = f": {line['reason']}" if line.get("reason") else ""
    return text + by + reason
