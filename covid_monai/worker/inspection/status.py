"""`covid-monai worker status`: what the worker is doing, its queue, its archives and the last failures."""

import time
from collections.abc import Iterator
from datetime import datetime
from ipaddress import IPv4Address, ip_address
from typing import Any

import requests

from covid_monai.core.number_format import format_count
from covid_monai.worker.inspection.queue_view import (
    FailureCount,
    QueueView,
    not_allowed,
    open_queue_view,
)
from covid_monai.worker.inspection.reasons import explain_reason
from covid_monai.worker.queue import is_state_dir_locked, queue_path
from covid_monai.worker.settings import Monitoring, Settings

_ANSWER_S = 5.0
_LOOPBACK = {4: ip_address("127.0.0.1"), 6: ip_address("::1")}
Document = dict[str, Any]


def read_status(settings: Settings) -> Document:
    """Return the status of a worker as the document of `--json`; times are in seconds since 1970.

    Raises:
        OSError: If this user may not read the state folder, or another program has locked the queue.
        ValueError: If the queue is damaged.
    """
    try:
        is_running = is_state_dir_locked(settings.state_dir)
    except PermissionError as error:
        raise not_allowed(settings.state_dir) from error
    url = health_url(settings.monitoring)
    health = _ask_health(url) if is_running and url else None
    with open_queue_view(settings.state_dir) as view:
        archives = _archives(settings, view, (health or {}).get("archives", {}))
        failures = view.failures()
    answers = (health or {}).get("status")
    status = (answers or ("unknown" if url is None else "no_answer")) if is_running else "stopped"
    return {
        "status": status,
        "running": is_running,
        "version": (health or {}).get("version"),
        "started": (health or {}).get("started"),
        "health_url": url,
        "queue": str(queue_path(settings.state_dir)),
        "storage_failure": (health or {}).get("storage_failure"),
        "decoder_failure": (health or {}).get("decoder_failure"),
        "ended_threads": (health or {}).get("ended_threads", []),
        "archives": archives,
        "failures": [_failure(one) for one in failures],
    }


def health_url(monitoring: Monitoring) -> str | None:
    """Return where a worker on this machine tells its health; None if its port is not known before.

    >>> health_url(Monitoring(host="0.0.0.0", port=9108))
    'http://127.0.0.1:9108/healthz'
    """
    if not monitoring.port:
        return None
    host = monitoring.host
    if host.is_unspecified:
        host = _LOOPBACK[host.version]
    name = str(host) if isinstance(host, IPv4Address) else f"[{host}]"
    return f"http://{name}:{monitoring.port}/healthz"


def _ask_health(url: str) -> Document | None:
    """Return the answer of `/healthz`; None if there is none, or if it is not that of a worker."""
    with requests.Session() as session:
        session.trust_env = False  # no proxy of the environment
        try:
            answer = session.get(url, timeout=_ANSWER_S, allow_redirects=False).json()
        except requests.RequestException:
            return None
    return answer if isinstance(answer, dict) and {"status", "archives"} <= answer.keys() else None


def _archives(settings: Settings, view: QueueView, health: Document) -> list[Document]:
    counts, outcomes, oldest = view.counts(), view.outcomes(), view.oldest_jobs()
    latest = view.latest_outcomes()
    described = []
    for archive in settings.archives:
        name, of_archive = archive.name, counts.get(archive.name, {})
        done, told = outcomes.get(name, {}), health.get(name, {})
        job = oldest.get(name)
        described.append(
            {
                "name": name,
                "source": archive.source,
                "url": archive.url,
                "up": told.get("up"),
                "failure": told.get("failure"),
                "failing_since": told.get("since"),
                **{key: of_archive.get(key, 0) for key in ("waiting", "in_work", "delayed", "dead_letters")},
                "oldest_job": job and job.number,
                "oldest_job_noticed": job and job.noticed,
                "answered_last_day": done.get("done", 0),
                "refused_last_day": done.get("refused", 0),
                "given_up_last_day": done.get("dead", 0),
                "last_outcome": latest.get(name),
            }
        )
    return described


def _failure(one: FailureCount) -> Document:
    return {
        "archive": one.archive,
        "state": "dead_letter" if one.state == "dead" else "waiting",
        "reason": one.reason,
        "explanation": explain_reason(one.reason),
        "images": one.count,
        "next_try": one.next_try,
        "latest": one.latest,
    }


def format_time(seconds: float) -> str:
    """Return a time in the time zone of this machine."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S%z}"


def format_age(seconds: float) -> str:
    """Return a time span in its largest unit.

    >>> format_age(0.4), format_age(200), format_age(7300), format_age(200_000)
    ('0 s', '3 min', '2 h', '2 days')
    """
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def status_lines(status: Document) -> Iterator[str]:
    """Yield the status as lines for people."""
    now = time.time()
    yield _describe_worker(status, now)
    for key, text in (
        ("storage_failure", "The disk or the queue cannot be written"),
        ("decoder_failure", "The process that decodes images cannot be started"),
    ):
        if status[key]:
            yield f"FAIL  {text} ({status[key]})."
    if status["ended_threads"]:
        yield f"FAIL  These threads have ended: {', '.join(status['ended_threads'])}. Restart the worker."
    for archive in status["archives"]:
        yield from _describe_archive(archive, now)
    for failure in status["failures"]:
        yield _describe_failure(failure, now)


def _describe_worker(status: Document, now: float) -> str:
    if status["status"] == "stopped":
        return "FAIL  The worker is not running. Images wait until it is started."
    if status["status"] == "no_answer":
        return f"FAIL  The worker is starting, or it hangs: {status['health_url']} does not answer."
    if status["status"] == "unknown":
        return "note  The worker runs. Its health is not known, because monitoring.port is 0."
    level = {"ok": "ok   ", "degraded": "note "}.get(status["status"], "FAIL ")
    since = f"{format_time(status['started'])} ({format_age(now - status['started'])})"
    return f"{level} The worker {status['version']} has run since {since}. Its status is {status['status']}."


def _describe_archive(archive: Document, now: float) -> Iterator[str]:
    name = f"Archive {archive['name']}"
    if archive["up"] is False:
        since = f" since {format_time(archive['failing_since'])}" if archive["failing_since"] else ""
        failure = archive["failure"]
        yield f"FAIL  {name} is unavailable{since}: {failure}. {explain_reason(failure)}".rstrip()
    elif archive["up"]:
        yield f"ok    {name} answers."
    else:
        yield f"note  {name}: whether it answers is known only to a running worker."
    waiting = f"      {format_count(archive['waiting'], 'image')} waiting"
    if archive["waiting"]:
        waiting += (
            f", of these {archive['in_work']} in work and {archive['delayed']} until their next try; the "
            f"oldest is job {archive['oldest_job']}, noticed "
            f"{format_age(now - archive['oldest_job_noticed'])} ago"
        )
    yield f"{waiting}."
    last = archive["last_outcome"]
    ago = f"; the last outcome was {format_age(now - last)} ago" if last else ""
    yield (
        f"      In the last 24 h: {archive['answered_last_day']} answered, {archive['refused_last_day']} "
        f"refused by the classifier, {archive['given_up_last_day']} given up{ago}."
    )


def _describe_failure(failure: Document, now: float) -> str:
    images = format_count(failure["images"], "image")
    if failure["state"] == "dead_letter":
        text = f"given up, the last {format_age(now - failure['latest'])} ago"
    else:
        wait = failure["next_try"] - now
        text = f"waiting for another try{f' in {format_age(wait)}' if wait > 0 else ''}"
    explanation = f" {failure['explanation']}" if failure["explanation"] else ""
    return f"note  Archive {failure['archive']}: {images} {text}: {failure['reason']}.{explanation}"
