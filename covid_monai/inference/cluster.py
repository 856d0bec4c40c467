"""An archive scored on a cluster: Ray Data deals the files out, each worker holds one classifier.

Ray starts workers, spreads files, restarts what dies and bounds the memory; here stand only what a worker
does with a batch of files, and how results are kept so that a run can be continued.
"""

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from covid_monai.bundle import Bundle
from covid_monai.core.errors import require_extra
from covid_monai.core.progress import with_progress
from covid_monai.core.vocabulary import Status
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.prediction import Prediction

_BATCHES_AT_ONCE = 4  # of a worker's: what is lost where a file takes its worker down
_RESTARTS = 2


def score_archive(
    files: Sequence[Path],
    output: Path,
    *,
    bundle_dir: Path,
    address: str | None = None,
    workers: int = 2,
    device: str | None = None,
    batch_size: int = 16,
) -> Counter[str]:
    """Classify files on a cluster, one line of JSON each, in the order in which they are done.

    A run that was interrupted goes on: files that have a line in `OUTPUT.partial` are not read again. The
    lines are those of `covid-monai predict`. A file whose worker dies gets an error record.

    Args:
        files: Under the same paths on every machine, as is the bundle.
        output: File ending in .jsonl; complete or not there.
        bundle_dir: Folder of the bundle.
        address: Of the cluster, as `ray.init` takes it ("auto" for the one that this machine belongs to);
            None starts one here that ends with the run.
        workers: Classifiers at once, each with one CPU, or one GPU where `device` says so.
        device: "cpu" or "cuda" of each worker.
        batch_size: Images through a network at once.

    Returns:
        How many files had which status.

    Raises:
        ImportError: Without the extra `cluster`.
        ValueError: If the bundle or the output will not do, or the lines there come from another model.
    """
    if output.suffix.lower() != ".jsonl":
        raise ValueError(f"{output}: a cluster's results are written as .jsonl; name a file that ends so.")
    model = Bundle(bundle_dir).identity
    partial = Path(f"{output}.partial")
    outcomes, done = _done(partial, model)
    waiting = [file for file in map(str, files) if file not in done]
    partial.parent.mkdir(parents=True, exist_ok=True)
    settings = {"bundle_dir": str(bundle_dir.absolute()), "device": device, "batch_size": batch_size}
    with _cluster(address, workers), partial.open("a", encoding="utf-8") as lines:
        answers = _answers(waiting, settings, model, workers=workers) if waiting else iter(())
        for line in with_progress(answers, "classifying", total=len(waiting)):
            lines.write(line + "\n")
            lines.flush()
            outcomes[json.loads(line)["status"]] += 1
    partial.replace(output)
    return outcomes


class _Worker:
    """One classifier in a process of the cluster."""

    def __init__(self, bundle_dir: str, device: str | None, batch_size: int) -> None:
        self.classifier = Classifier(bundle_dir, device=device, batch_size=batch_size, workers=1)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """Answer a batch of paths, each as bytes: a file's name need not be text."""
        predictions = self.classifier.predict(os.fsdecode(file) for file in batch["file"])
        return {"line": [json.dumps(prediction.to_json(), allow_nan=False) for prediction in predictions]}


def _answers(
    files: Sequence[str], settings: Mapping[str, Any], model: dict[str, str], *, workers: int
) -> Iterator[str]:
    """Lines of JSON as they come, and of the files that went down with a worker at the end."""
    import ray.data

    at_once = settings["batch_size"] * _BATCHES_AT_ONCE
    paths = ray.data.from_items(
        [{"file": os.fsencode(file)} for file in files], override_num_blocks=-(-len(files) // at_once)
    )
    answers = paths.map_batches(
        _Worker,
        fn_constructor_kwargs=settings,
        batch_size=settings["batch_size"],
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=int(str(settings["device"]).startswith("cuda")),
        max_restarts=_RESTARTS,
        max_task_retries=_RESTARTS,
    )
    missing = set(files)
    for row in answers.iter_rows():
        missing.discard(json.loads(row["line"])["file"])
        yield row["line"]
    for file in sorted(missing):
        detail = "its worker died, over this file or one read with it: classify it with covid-monai predict"
        lost = Prediction(file=file, status=Status.ERROR, model=model, reason="failed", detail=detail)
        yield json.dumps(lost.to_json())


@contextmanager
def _cluster(address: str | None, workers: int) -> Iterator[None]:
    """Be part of a cluster while the block runs; Ray's own talk stays short, and nothing is reported home."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with require_extra("cluster"):
        import ray.data
    here = {"num_cpus": workers, "include_dashboard": False} if address is None else {}
    ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **here)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # files that take their worker down do not end the run
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _done(partial: Path, model: dict[str, str]) -> tuple[Counter[str], set[str]]:
    """Statuses and files of the whole lines that an earlier run has left; a torn last line is cut off.

    Raises:
        ValueError: If another model wrote them.
    """
    outcomes: Counter[str] = Counter()
    files: set[str] = set()
    if not partial.exists():
        return outcomes, files
    whole = 0
    with partial.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                break
            record = json.loads(line)
            if not model.items() <= record["model"].items():  # which also names the backend
                raise ValueError(
                    f"{partial} was begun with another model: remove it, or name another output."
                )
            outcomes[record["status"]] += 1
            files.add(record["file"])
            whole += len(line)
    os.truncate(partial, whole)
    return outcomes, files
