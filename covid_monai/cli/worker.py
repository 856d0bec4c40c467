"""`covid-monai worker`: run the worker, check its configuration, ask what it is doing, manage its queue."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covid_monai.bundle.shipped import find_bundle
from covid_monai.cli.options import JsonOption, argument, option, print_json, reserve_stdout
from covid_monai.core.errors import require_extra
from covid_monai.core.lazy_imports import import_monai_for_prediction
from covid_monai.core.number_format import format_count
from covid_monai.core.tables import quote_cell

if TYPE_CHECKING:
    from covid_monai.worker.queue import JobQueue
    from covid_monai.worker.settings import Settings

app = typer.Typer(invoke_without_command=True)
dead_letters = typer.Typer(
    no_args_is_help=True, help="List, retry or drop dead letters: images that were given up."
)
app.add_typer(dead_letters, name="dead-letters")

_CONFIG = option("worker.config", "--config")
ConfigOption = Annotated[Path, _CONFIG]
Numbers = Annotated[list[int] | None, argument("worker.numbers")]
AllOption = Annotated[bool, option("worker.all", "--all")]


@app.callback()
def serve(context: typer.Context, config: Annotated[Path | None, _CONFIG] = None) -> None:
    """Watch archives over DICOMweb, classify new chest radiographs, and store the results in their studies.

    The worker runs until SIGTERM or Ctrl-C. Its log goes to the standard error as JSON lines.

    Exit code: 0 after a signal, 1 after an error, 2 if the configuration cannot be used.
    """
    started = time.time()  # images that are stored from now on are answered
    if context.invoked_subcommand:
        return
    if config is None:
        raise typer.BadParameter("The worker needs a configuration. Give it with --config FILE.")
    settings = _settings(config)
    bundle = find_bundle(settings.bundle)

    import_monai_for_prediction()
    from covid_monai.core.json_log import log_as_json
    from covid_monai.worker.queue import lock_state_dir
    from covid_monai.worker.service import Service

    log_as_json()
    with lock_state_dir(settings.state_dir):
        Service(settings, bundle, started).run()


@app.command()
def check(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Try everything that the worker will need, and say what is wrong. Nothing is changed.

    Exit code: 0 if all is well, 1 if an archive or this machine is not ready, 2 if the file cannot be used.
    """
    settings = _settings(config)

    import_monai_for_prediction()
    from covid_monai.worker.check import run_checks

    results = []
    with reserve_stdout(as_json):
        for result in run_checks(settings, config):
            results.append(result)
            if not as_json:  # print it now: an archive that does not answer takes its time
                typer.echo(f"{result.level:5} {result.text}")
    failed = any(result.level == "FAIL" for result in results)
    if as_json:
        findings = [{"result": result.level, "text": result.text} for result in results]
        print_json({"ready": not failed, "findings": findings})
    elif failed:
        typer.echo("Not ready. Correct what is marked FAIL, then run this check again.")
    else:
        typer.echo(f"Ready. Start the worker: covid-monai worker --config {config}")
    if failed:
        raise typer.Exit(1)


@app.command()
def status(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Say what the worker is doing: its queue, its archives, and why images failed. Nothing is changed.

    Exit code: 0 if the worker runs and nothing fails, 1 if not, 2 if its queue cannot be read.
    """
    settings = _settings(config)

    from covid_monai.worker.inspection.status import read_status, status_lines

    found = read_status(settings)
    if as_json:
        print_json(found)
    else:
        for line in status_lines(found):
            typer.echo(line)
    if found["status"] not in ("ok", "unknown"):
        raise typer.Exit(1)


@app.command()
def explain(
    config: ConfigOption, uid: Annotated[str, argument("worker.uid")], as_json: JsonOption = False
) -> None:
    """Say what became of an image, of a study or of a result, and why. Nothing is changed.

    Queue and audit trail are read. If neither knows the UID, the archives are asked whether they have it.

    Exit code: 0 if something is known of it, 1 if not, 2 if it is no UID or the queue cannot be read.
    """
    settings = _settings(config)

    from covid_monai.worker.inspection.explanation import explain, explanation_lines

    found = explain(settings, uid)
    if as_json:
        print_json(found)
    else:
        for line in explanation_lines(found):
            typer.echo(line)
    if not found["images"]:
        typer.echo(
            f"Nothing is known of {uid}: neither queue nor audit trail has it, and no archive that could be "
            "asked. Check the UID. Give a Study or SOP Instance UID, not that of a series.",
            err=True,
        )
        raise typer.Exit(1)


@app.command("retry-now")
def retry_now(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Try waiting images and unavailable archives at once, for example after a repair.

    Dead letters stay as they are: see `dead-letters retry`. Exit code: 0.
    """
    settings = _settings(config)
    queue = _queue(settings)

    from covid_monai.worker.queue import is_state_dir_locked, queue_errors

    with queue_errors(queue.path):
        images = queue.retry_now([archive.name for archive in settings.archives])
    is_running = is_state_dir_locked(settings.state_dir)
    if as_json:
        print_json({"images": images, "worker_running": is_running})
        return
    typer.echo(f"{format_count(images, 'image')} made due that would have waited for another try.")
    typer.echo(
        "The worker tries them and all archives within seconds."
        if is_running
        else "The worker is not running. It tries them when it is started."
    )


@app.command("set-aside")
def set_aside(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Keep a damaged queue under another name and begin a new queue. Stop the worker first.

    The new queue reads each change feed from its start, so no image is missed. Images that were answered
    before get results with the same UIDs again, so nothing is stored twice.
    """
    settings = _settings(config)

    from covid_monai.worker.queue import BEGINNING, JobQueue, lock_state_dir, set_queue_aside

    with lock_state_dir(settings.state_dir):
        kept = set_queue_aside(settings.state_dir)
        queue = JobQueue(settings.state_dir)
        for archive in settings.archives:
            if archive.source == "orthanc":
                queue.add(archive.name, (), position=BEGINNING)
        queue.close()
    if as_json:
        print_json({"kept": str(kept) if kept else None})
        return
    typer.echo(f"The old queue is kept as {kept}." if kept else "There was no queue.")
    typer.echo("The new queue will read each change feed from its start.")


@dead_letters.command("list")
def list_dead_letters(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List dead letters: job number, archive, number of tries, reason, SOP Instance UID. Exit code: 0."""
    letters: list[dict[str, Any]] = [
        {
            "job": job.number,
            "archive": job.archive,
            "tries": job.attempts + 1,
            "reason": job.reason,
            "sop_instance_uid": job.address.sop_instance_uid,
        }
        for job in _queue(_settings(config)).dead_letters()
    ]
    if as_json:
        print_json({"dead_letters": letters})
        return
    for letter in letters:
        letter["tries"] = format_count(letter["tries"], "try", "tries")
        typer.echo("\t".join(str(quote_cell(value)) for value in letter.values()))
    typer.echo(f"{format_count(len(letters), 'dead letter', 'dead letters')}.", err=True)


@dead_letters.command()
def retry(
    config: ConfigOption,
    numbers: Numbers = None,
    everything: AllOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put dead letters back into the queue. A running worker processes them within seconds.

    Exit code: 0 if all were dead letters, 1 if some were not.
    """
    decision = ("retried", "put back into the queue", "retry_dead_letters")
    _decide(config, numbers, everything=everything, as_json=as_json, decision=decision)


@dead_letters.command()
def drop(
    config: ConfigOption,
    numbers: Numbers = None,
    everything: AllOption = False,
    as_json: JsonOption = False,
) -> None:
    """Close dead letters for good. These images get no result.

    Exit code: 0 if all were dead letters, 1 if some were not.
    """
    decision = ("dropped", "dropped", "drop_dead_letters")
    _decide(config, numbers, everything=everything, as_json=as_json, decision=decision)


def _settings(config: Path) -> "Settings":
    with require_extra("worker"):
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401

        from covid_monai.worker.settings import load_settings
    return load_settings(config)


def _queue(settings: "Settings") -> "JobQueue":
    from covid_monai.worker.inspection.queue_view import find_queue
    from covid_monai.worker.queue import JobQueue

    find_queue(settings.state_dir)
    return JobQueue(settings.state_dir)


def _decide(
    config: Path,
    numbers: list[int] | None,
    *,
    everything: bool,
    as_json: bool,
    decision: tuple[str, str, str],
) -> None:
    """Carry out a decision about dead letters; the audit trail tells first what will happen to each one.

    A decision has an event of the audit trail, words for people, and a method of the queue.
    """
    from covid_monai.worker.audit import AuditTrail
    from covid_monai.worker.queue import queue_errors

    settings, (event, words, method) = _settings(config), decision
    queue = _queue(settings)
    if bool(numbers) == everything:
        raise ValueError("Give either --all, or the job numbers that `dead-letters list` shows.")
    with queue_errors(queue.path):
        letters = {job.number: job for job in queue.dead_letters()}
        selected = list(letters) if everything else list(dict.fromkeys(numbers or ()))
        audit = AuditTrail(settings.audit_file, settings.audit.identifiers, settings.state_dir)
        for job in (letters[number] for number in selected if number in letters):
            audit.write(event, job.address, archive=job.archive, job=job.number, reason=job.reason)
        changed = getattr(queue, method)(selected)
    unknown = sorted(set(selected) - set(changed))
    if as_json:
        print_json({event: changed, "not_dead_letters": unknown})
    else:
        typer.echo(f"{format_count(len(changed), 'dead letter', 'dead letters')} {words}.")
    if unknown:
        typer.echo(f"These jobs are not dead letters: {', '.join(map(str, unknown))}.", err=True)
        raise typer.Exit(1)
