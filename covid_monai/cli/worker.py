"""`covid-monai worker`: answer an archive; check the configuration; look after dead letters."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covid_monai.cli import examples
from covid_monai.cli.options import JsonOption, find_bundle, print_json, reserve_stdout
from covid_monai.core.errors import require_extra
from covid_monai.core.lazy_imports import import_monai_to_predict
from covid_monai.core.vocabulary import RESEARCH_USE

if TYPE_CHECKING:
    from covid_monai.worker.queue.queue import Job, JobQueue
    from covid_monai.worker.settings import Settings

app = typer.Typer(
    invoke_without_command=True,
    epilog=examples(
        "covid-monai worker check --config worker.yaml",
        "covid-monai worker --config worker.yaml",
        "covid-monai worker dead-letters list --config worker.yaml",
    )
    + f"\n\n{RESEARCH_USE}",
)
CHECK_EXAMPLES = examples(
    "covid-monai worker check --config worker.yaml",
    "covid-monai worker check --config worker.yaml --json",
)
LIST_EXAMPLES = examples(
    "covid-monai worker dead-letters list --config worker.yaml",
    "covid-monai worker dead-letters list --config worker.yaml --json",
)
dead_letters = typer.Typer(
    no_args_is_help=True,
    help="Images that were given up: list, retry, drop.",
    epilog=examples(
        "covid-monai worker dead-letters list --config worker.yaml",
        "covid-monai worker dead-letters retry --config worker.yaml --all",
    ),
)
app.add_typer(dead_letters, name="dead-letters")

ConfigOption = Annotated[Path, typer.Option("--config", metavar="FILE", help="The service's YAML file.")]
Numbers = Annotated[list[int] | None, typer.Argument(metavar="[JOB]...", help="Job numbers, as listed.")]
AllOption = Annotated[bool, typer.Option("--all", help="All dead letters.")]


@app.callback()
def serve(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The service's YAML file.")
    ] = None,
) -> None:
    """Watch archives over DICOMweb, classify new chest radiographs, and store the results beside them.

    Runs until SIGTERM or Ctrl-C; log lines are JSON on the standard error.

    Exit code: 0 after a signal, 2 if the configuration cannot be used, 1 if it broke.
    """
    if context.invoked_subcommand:
        return
    if config is None:
        raise typer.BadParameter("give the configuration: --config FILE")
    settings = _settings(config)
    bundle = find_bundle(settings.bundle)

    import_monai_to_predict()
    from covid_monai.core.json_log import log_as_json
    from covid_monai.worker.service import serve as run

    log_as_json()
    raise typer.Exit(run(settings, bundle))


@app.command(epilog=CHECK_EXAMPLES)
def check(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Try everything that the service will need, change nothing, and say in sentences what is wrong.

    Exit code: 0 if all is well, 1 if an archive or this machine is not ready, 2 if the file cannot be used.
    """
    settings = _settings(config)

    import_monai_to_predict()
    from covid_monai.worker.check.check import findings

    found = []
    with reserve_stdout(as_json):
        for finding in findings(settings, find_bundle):
            found.append(finding)
            if not as_json:  # at once: an archive that does not answer takes its time
                typer.echo(f"{finding.word:5} {finding.text}")
    failed = any(finding.failed for finding in found)
    if as_json:
        told = [{"result": finding.word, "text": finding.text} for finding in found]
        print_json({"ready": not failed, "findings": told})
    elif failed:
        typer.echo("Something must be changed first.")
    else:
        typer.echo(f"Ready: covid-monai worker --config {config}")
    if failed:
        raise typer.Exit(1)


@app.command("set-aside", epilog=examples("covid-monai worker set-aside --config worker.yaml"))
def set_aside(config: ConfigOption) -> None:
    """Keep a damaged queue under another name and begin a new one; the worker must be stopped.

    The new queue reads the change feeds from their start: nothing is missed, and what had been answered gets
    the same UIDs again, so that nothing is stored twice.
    """
    settings = _settings(config)

    from covid_monai.worker.queue.queue import BEGINNING, JobQueue
    from covid_monai.worker.state_dir import claimed, move_aside

    with claimed(settings.state_dir):
        kept = move_aside(settings.state_dir)
        queue = JobQueue(settings.state_dir)
        for archive in settings.archives:
            if archive.source == "orthanc":
                queue.add(archive.name, (), position=BEGINNING, now=time.time())
        queue.close()
    typer.echo(f"The old queue is kept as {kept}." if kept else "There was no queue.")
    typer.echo("A new queue begins at the start of each change feed.")


@dead_letters.command("list", epilog=LIST_EXAMPLES)
def list_dead_letters(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List them: job number, archive, tries, reason, SOP Instance UID. Exit code 0."""
    letters = _queue(_settings(config)).dead_letters()
    if as_json:
        print_json({"dead_letters": [_letter(job) for job in letters]})
        return
    for job in letters:
        typer.echo(f"{job.number}\t{job.archive}\t{job.attempts + 1} tries\t{job.reason}\t{job.instance}")
    typer.echo(f"{len(letters)} dead letters.", err=True)


def _letter(job: "Job") -> dict[str, Any]:
    return {
        "job": job.number,
        "archive": job.archive,
        "tries": job.attempts + 1,
        "reason": job.reason,
        "sop_instance_uid": job.instance,
    }


@dead_letters.command(
    epilog=examples(
        "covid-monai worker dead-letters retry --config worker.yaml 17 18",
        "covid-monai worker dead-letters retry --config worker.yaml --all",
    )
)
def retry(config: ConfigOption, numbers: Numbers = None, everything: AllOption = False) -> None:
    """Let them be tried again; a running worker takes them up within seconds."""
    queue = _queue(_settings(config))
    _say(queue.revive(_chosen(queue, numbers, everything=everything)), numbers, "wait again")


@dead_letters.command(epilog=examples("covid-monai worker dead-letters drop --config worker.yaml 17 18"))
def drop(config: ConfigOption, numbers: Numbers = None, everything: AllOption = False) -> None:
    """Close them for good: these images get no result."""
    queue = _queue(_settings(config))
    _say(queue.drop(_chosen(queue, numbers, everything=everything)), numbers, "dropped")


def _settings(config: Path) -> "Settings":
    with require_extra("worker"):
        import dicomweb_client  # noqa: F401
        import prometheus_client  # noqa: F401

        from covid_monai.worker.settings_file import load_settings
    return load_settings(config)


def _queue(settings: "Settings") -> "JobQueue":
    from covid_monai.worker.queue.queue import JobQueue
    from covid_monai.worker.state_dir import queue_path

    path = queue_path(settings.state_dir)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: no worker has run with this configuration yet.")
    return JobQueue(settings.state_dir)


def _chosen(queue: "JobQueue", numbers: list[int] | None, *, everything: bool) -> list[int]:
    if bool(numbers) == everything:
        raise ValueError("give job numbers, as `dead-letters list` shows them, or --all.")
    return [job.number for job in queue.dead_letters()] if everything else list(numbers or ())


def _say(settled: list[int], numbers: list[int] | None, what: str) -> None:
    typer.echo(f"{len(settled)} {what}.")
    unknown = sorted(set(numbers or ()) - set(settled))
    if unknown:
        raise ValueError(f"no dead letters: {', '.join(map(str, unknown))}")
