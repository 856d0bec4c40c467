"""Run a study: prepare the data, train every fold of every variant, pool the test predictions."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from covid_monai.bundle.composed_config import run_workflow
from covid_monai.core.atomic_files import write_text_atomically
from covid_monai.core.number_format import format_count
from covid_monai.datasets.datalist import SPLITS, Datalist, Item, read_datalist, write_datalist
from covid_monai.datasets.prepare import prepare
from covid_monai.experiments.folds import join_patients, make_folds
from covid_monai.experiments.pooled_results import (
    compute_pooled_metrics,
    fit_on_left_out_sources,
    join_test_rows,
)
from covid_monai.experiments.study import PROTOCOLS, Study, select_images

logger = logging.getLogger("covid_monai.experiments")


def run_study(
    study: Study,
    *,
    data_dir: str | Path,
    output: str | Path,
    train_config: str | Path,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Run every fold of every variant and write `result.json`.

    Finished folds are not run again. An interrupted run continues with its fold and epoch.

    `data_dir` holds the study's collections. `settings` of train.yaml hold for all variants and override the
    study's own.

    Returns:
        `title`, `protocol`, `published`, `differs`, `datalist` and `variants`: for each name the metrics of
        the pooled test predictions with their intervals (see `compute_pooled_metrics`). The predictions are
        in `VARIANT/predictions.csv`. Those of sources left out also give `VARIANT/unseen_sources.json`, for
        the `models` of a bundle that is trained in the same way on all sources.
    """
    output = Path(output)
    if (path := output / "datalist.json").is_file():
        everything = read_datalist(path)
    else:
        sources = [(name, Path(data_dir) / folder) for name, folder in study.sources]
        # The published experiments used contradicting images as their collections label them.
        everything = prepare(
            sources, output=path, seed=seed, validation_order=study.validation_order, label_conflicts="keep"
        )
    items, class_names = _select_items(study, everything)
    folds = _write_folds(study, everything, items, class_names, output / "folds", seed=seed)
    # `folds_by_image` hides the patients from the folds; the intervals need them.
    patients = {str(everything.root / item["image"]): item["patient"] for item in items}
    variants = {}
    for name, overrides in study.variants.items():
        # The bundle of train.yaml, from whatever folder the command is run.
        root = Path(train_config).absolute().parents[1]
        configs, own = [train_config, study.path], {"bundle_root": root, **(settings or {}), "seed": seed}
        runs = _run_folds(folds, output / name, configs, overrides, own)
        join_test_rows(runs, output / name / "predictions.csv", patients)
        by_source = study.protocol == "leave_one_source_out"
        variants[name] = compute_pooled_metrics(runs, patients, study.subsets, by_source=by_source)
        if by_source and (unseen := fit_on_left_out_sources(runs, patients)):
            unseen.save(output / name / "unseen_sources.json")
    result = {key: getattr(study, key) for key in ("title", "protocol", "published")} | {
        "differs": (PROTOCOLS[study.protocol], *study.differs),
        "datalist": str(output),
        "variants": variants,
    }
    write_text_atomically(output / "result.json", json.dumps(result, indent=2, allow_nan=False) + "\n")
    return result


def _select_items(study: Study, datalist: Datalist) -> tuple[list[Item], Sequence[str]]:
    """Return the images of the study with their patients and labels, and the names of the classes."""
    named = [
        {**item, "class": datalist.class_names[item["label"]], "split": split}
        for split in SPLITS
        for item in datalist.splits[split]
    ]
    images = join_patients(select_images(named, study.take), named)
    class_names = study.classes or tuple(dict.fromkeys(image["class"] for image in images))
    items = [
        {**image, "label": class_names.index(image["class"])}
        for image in images
        if image["class"] in class_names
    ]
    return items, class_names


def _write_folds(
    study: Study,
    datalist: Datalist,
    items: Sequence[Item],
    class_names: Sequence[str],
    folder: Path,
    *,
    seed: int,
) -> dict[str, Path]:
    """Write the datalist of each fold and return its path by the fold's name.

    Raises:
        ValueError: The folder has other images in a fold, such as those of another protocol or seed.
    """
    if study.protocol == "official_test":
        folds = [("test", {split: [item for item in items if item["split"] == split] for split in SPLITS})]
    else:
        folds = list(make_folds(items, protocol=study.protocol, folds=study.folds, seed=seed))
    for name, fold in folds:
        path = folder / f"{name}.json"
        new = write_datalist(
            path.with_suffix(".new"),
            class_names=class_names,
            splits={split: [_without_study_keys(item) for item in part] for split, part in fold.items()},
            root=datalist.root,
            sources=datalist.sources,
            description=f"{study.title}; fold {name}",
        )
        if path.is_file() and read_datalist(path).digest != new.digest:
            new.path.unlink()
            other = "has other images, as of another protocol or seed"
            raise ValueError(f"{path} {other}. Give another --output, or delete {folder.parent}.")
        new.path.replace(path)
    return {name: folder / f"{name}.json" for name, _ in folds}


def _without_study_keys(item: Item) -> Item:
    return {key: value for key, value in item.items() if key not in ("class", "split")}


def _run_folds(
    folds: Mapping[str, Path],
    folder: Path,
    configs: Sequence[str | Path],
    variant: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> list[Path]:
    """Train and score the folds that are not finished, and return the folder of each fold's run."""
    runs = [folder / name for name in folds]
    waiting = [run for run in runs if not (run / "evaluation" / "predictions.csv").is_file()]
    started = time.perf_counter()
    for number, (run, datalist) in enumerate(zip(runs, folds.values(), strict=True), start=1):
        done = waiting.index(run) if run in waiting else None
        left = "finished already" if done is None else _remaining_time(done, len(waiting), started)
        logger.info("%s: fold %s (%d of %d), %s", folder.name, run.name, number, len(folds), left)
        if run in waiting:
            own = {**settings, "datalist": datalist, "output_dir": run, "resume": True}
            own["run_name"] = f"{folder.name}, fold {run.name}"
            run_workflow(configs, workflow_type="train", data=own, changes=variant)
            _score(run, datalist)
    return runs


def _remaining_time(done: int, folds: int, started: float) -> str:
    """Estimate the time for this fold and the later ones from the earlier ones."""
    if not done:
        return f"{format_count(folds, 'fold')} to train"
    return f"{(time.perf_counter() - started) / done * (folds - done) / 60:.0f} min left"


def _score(run: Path, datalist: Path) -> None:
    """Write the fold's predictions.csv, without a report."""
    paths = {"bundle_root": run, "datalist": datalist, "output_dir": run / "evaluation"}
    score = {"run": ["$@evaluator.run()"]}  # the key `run` of evaluate.yaml would also write a report
    run_workflow([run / "configs" / "evaluate.yaml"], workflow_type="infer", data=paths, changes=score)
