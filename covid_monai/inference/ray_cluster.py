"""Classification of an archive on a cluster: Ray Data distributes the files to workers, and restarts them."""

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

from covid_monai.bundle import Bundle
from covid_monai.core.atomic_files import keep_private, make_private_folder
from covid_monai.core.errors import require_extra
from covid_monai.core.progress import with_progress
from covid_monai.core.vocabulary import Status
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.prediction import Prediction

_BATCHES_PER_TASK = 4  # a worker that dies loses the files of its task
_RESTARTS = 2
_WORKER_DIED = "Its worker died on this file or another of its batch. Classify it with covid-monai predict."


def classify_on_cluster(
    files: Sequence[Path],
    output: Path,
    *,
    bundle_dir: Path,
    address: str | None = None,
    workers: int = 2,
    device: str | None = None,
    batch_size: int = 16,
    trust_code: bool = False,
) -> Counter[str]:
    """Classify files on a cluster, and write one line of JSON for each, in the order of completion.

    An interrupted run is continued: files with a line in `OUTPUT.partial` are not read again. The lines are
    those of `covid-monai predict`. A file whose worker dies gets an error record.

    Files and bundle have the same paths on every machine. The address is that of `ray.init` ("auto" for the
    cluster of this machine); None starts a cluster here. Each worker takes one CPU, or one GPU if `device` is
    "cuda". `trust_code` is that of `Classifier`. The result is the number of files by status.
    """
    if output.suffix.lower() != ".jsonl":
        raise ValueError(f"{output} is not a .jsonl file. Name an output that ends with .jsonl.")
    model = Bundle(bundle_dir, trust_code=trust_code).identity
    partial = Path(f"{output}.partial")
    outcomes, done = _read_partial(partial, model)
    waiting = [file for file in map(str, files) if file not in done]
    make_private_folder(partial.parent)
    keep_private(partial)
    settings = {
        "bundle_dir": str(bundle_dir.absolute()),
        "device": device,
        "batch_size": batch_size,
        "trust_code": trust_code,
    }
    with _cluster(address, workers), partial.open("a", encoding="utf-8") as file:
        lines = _classify(waiting, settings, model, workers=workers) if waiting else iter(())
        for line in with_progress(lines, "classifying", total=len(waiting)):
            file.write(line + "\n")
            file.flush()
            outcomes[json.loads(line)["status"]] += 1
    partial.replace(output)
    return outcomes


class _Worker:
    """One classifier in a process of the cluster."""

    def __init__(self, bundle_dir: str, **settings: Any) -> None:
        self.classifier = Classifier(bundle_dir, workers=1, **settings)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """Classify a batch of paths. They are bytes, because a file's name need not be text."""
        predictions = self.classifier.predict(os.fsdecode(file) for file in batch["file"])
        return {"line": [json.dumps(prediction.to_json(), allow_nan=False) for prediction in predictions]}


def _classify(
    files: Sequence[str], settings: Mapping[str, Any], model: dict[str, str], *, workers: int
) -> Iterator[str]:
    """Yield lines of JSON in the order of completion; at the end those of files whose worker died."""
    import ray.data

    at_once = settings["batch_size"] * _BATCHES_PER_TASK
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
        lost = Prediction(file=file, status=Status.ERROR, model=model, reason="failed", detail=_WORKER_DIED)
        yield json.dumps(lost.to_json())


@contextmanager
def _cluster(address: str | None, workers: int) -> Iterator[None]:
    """Join a cluster while the block runs, without Ray's log lines, dashboard and usage statistics."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with require_extra("cluster"):
        import ray.data
    here = {"num_cpus": workers, "include_dashboard": False} if address is None else {}
    ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **here)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # files that end their worker do not end the run
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _read_partial(partial: Path, model: dict[str, str]) -> tuple[Counter[str], set[str]]:
    """Read statuses and files of the lines of an earlier run, and delete an incomplete last line."""
    if not partial.exists():
        return Counter(), set()
    status_of_file, whole = {}, 0
    with partial.open("rb") as lines:
        for line in takewhile(lambda line: line.endswith(b"\n"), lines):
            record = json.loads(line)
            if not model.items() <= record["model"].items():  # which also names the backend
                raise ValueError(f"{partial} is of another model. Delete it, or name another output.")
            status_of_file[record["file"]] = record["status"]
            whole += len(line)
    os.truncate(partial, whole)
    return Counter(status_of_file.values()), set(status_of_file)
