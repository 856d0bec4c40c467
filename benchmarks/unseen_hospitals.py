"""Arms of the training recipe, each measured on domains (hospitals, collections) that it has not seen.

    python benchmarks/unseen_hospitals.py train --datalist merged.json --output runs/unseen --seeds 0
    python benchmarks/unseen_hospitals.py table --datalist merged.json --output runs/unseen

Every arm trains once per left-out domain and seed, on a CPU or with CUDA. A finished run is not repeated, and
several processes with the same `--output` share the work: on a CPU start one per core, each with
`OMP_NUM_THREADS=1`. `table` compares what is there with the arm `recipe_0_1_0`. `unseen_sources` writes the
file of that name for a bundle whose weights were made like one arm (`--arms soup_bn`, trained with `--keep`).

The arms (`unseen_arms.py`) and the measures were fixed before the first run, see docs/experiments.md.
"""

import argparse
import fcntl
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from unseen_arms import ARMS, COVID, NORMAL, PNEUMONIA, Arm
from unseen_folds import FOLDS, Record, find_lungs, gather, load_images, render, split_fold
from unseen_networks import WEIGHTS, ensemble_scores, make_soup, read_kept, read_members, score, train

from covid_monai.datasets.datalist import read_datalist
from covid_monai.evaluation.decisions.calibration import Calibration, fit_calibration
from covid_monai.evaluation.decisions.unseen_sources import fit_unseen_sources
from covid_monai.evaluation.metrics.left_out_domains import compare_arms
from covid_monai.evaluation.metrics.prediction_table import write_predictions

# The classes of the AUROC within each domain: of the lower and of the higher score.
CONTRASTS = {"kermany": (NORMAL, PNEUMONIA), "ieee8023": (PNEUMONIA, COVID), "nih": (NORMAL, PNEUMONIA)}


def run(
    records: Sequence[Record],
    fold: str,
    arm: Arm,
    images: Tensor,
    lungs: Tensor | None,
    *,
    seed: int,
    steps: int,
    weights: Sequence[str],
    path: Path,
    keep: bool,
) -> None:
    """Train one fold, score it with each kind of `weights`, and write the log probabilities."""
    rows, test = split_fold(records, fold, arm)
    members = read_members(path.parents[1], fold, arm) if arm.members else []
    networks: dict[str, Sequence[nn.Module]]
    if arm.joined == "ensemble":
        networks = {"average": members}
    elif arm.joined.startswith("soup"):
        chosen = [records[row] for row in rows]
        networks = {"average": [make_soup(members, chosen, images[rows], arm, seed=seed)]}
    else:
        made = train(records, rows, images, lungs, arm, seed=seed, steps=steps, teachers=members)
        networks = {name: [made[name]] for name in weights}
    if keep:
        torch.save(networks["average"][0].state_dict(), path.with_suffix(".pt"))
    shown = {"": (images[test], None if lungs is None else lungs[test])}
    if fold == "nih":
        frontal = [
            row for row in test if records[row]["label"] == NORMAL and records[row].get("view") == "PA"
        ]
        for pipeline, pixels in render(images[frontal]).items():
            masks = find_lungs(pixels) if arm.pool else None
            shown[f"/{pipeline}"] = (pixels, masks)
    results: dict[str, Any] = {"images": np.array([str(records[row]["image"]) for row in test])}
    for pipeline, (pixels, masks) in shown.items():
        for name, joined in networks.items():
            results[f"{name}{pipeline}"] = ensemble_scores(joined, pixels, masks, arm).numpy()
    temporary = path.with_suffix(".part.npz")
    np.savez_compressed(temporary, **results)
    temporary.replace(path)


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Yield whether this process alone works on a file; a claim ends with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield not path.exists()


def train_all(options: argparse.Namespace) -> None:
    """Train what is missing, seed by seed and arm by arm."""
    if options.keep and ("average" not in options.weights or "ensemble" in options.arms):
        raise SystemExit("--keep keeps the averaged weights of one network: name them, and not the ensemble.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    datalist = read_datalist(options.datalist)
    records, held = gather(datalist), {}
    for seed in options.seeds:
        for name in options.arms:
            arm = ARMS[name]
            if arm.image_size not in held:
                held = {
                    arm.image_size: load_images(records, arm.image_size, options.output / "cache", device)
                }
            masks = options.output / "cache" / f"lungs-{datalist.digest[:16]}-{arm.image_size}.pt"
            (options.output / name).mkdir(parents=True, exist_ok=True)
            (options.output / name / "arm.json").write_text(json.dumps(asdict(arm), indent=2))
            for fold in options.folds:
                path = options.output / name / f"{fold}-{seed}.npz"
                with claimed(path) as mine:
                    if mine:
                        print(f"{time.strftime('%H:%M:%S')} {name}, without {fold}, seed {seed}", flush=True)
                        images = held[arm.image_size]
                        lungs = find_lungs(images, masks) if arm.needs_lungs else None
                        run(
                            records,
                            fold,
                            arm,
                            images,
                            lungs,
                            seed=seed,
                            steps=options.steps,
                            weights=options.weights,
                            path=path,
                            keep=options.keep,
                        )


def read_runs(folder: Path, records: Sequence[Record], kind: str) -> dict[str, Any]:
    """Return the scores of one arm and one kind of weights on each domain left out, over its seeds.

    Returns:
        `primary`: the arm of `left_out_domains` with the domains that are complete; `secondary`: means over
        the seeds; `seeds`: number of seeds that all folds have.
    """
    by_image = {str(record["image"]): record for record in records}
    seeds = [seed for seed in range(10) if all((folder / f"{fold}-{seed}.npz").is_file() for fold in FOLDS)]
    primary: dict[str, Any] = {}
    secondary: list[dict[str, float]] = []
    measured: dict[str, float]
    for seed in seeds:
        measured = {}
        for fold in FOLDS:
            with np.load(folder / f"{fold}-{seed}.npz") as run:
                rows = [by_image[image] for image in run["images"]]
                scores = run[kind]
                if fold in CONTRASTS:
                    _add(primary, fold, rows, scores)
                measured |= _secondary(fold, rows, scores, run, kind)
        secondary.append(measured)
    means = {key: float(np.mean([each[key] for each in secondary])) for key in secondary[0]} if seeds else {}
    return {"primary": primary, "secondary": means, "seeds": len(seeds)}


def _add(primary: dict[str, Any], fold: str, rows: Sequence[Record], scores: np.ndarray) -> None:
    below, above = CONTRASTS[fold]
    chosen = [
        number for number, row in enumerate(rows) if row["domain"] == fold and row["label"] in (below, above)
    ]
    labels = [int(rows[number]["label"] == above) for number in chosen]
    patients = [rows[number]["patient"] for number in chosen]
    values = (scores[:, above] - scores[:, below])[chosen]
    _, held, _ = primary.get(fold, (labels, [], patients))
    primary[fold] = (labels, [*held, values], patients)


def _secondary(
    fold: str, rows: Sequence[Record], scores: np.ndarray, run: Mapping[str, np.ndarray], kind: str
) -> dict[str, float]:
    """Return sensitivities and false alarm rates at the cut that calls 5 % of NIH normals covid."""
    odds = scores[:, COVID] - scores[:, NORMAL]
    normal = np.array([row["label"] == NORMAL and row["domain"] == "nih" for row in rows])
    frontal = np.array([row.get("view") == "PA" for row in rows])
    if fold == "nih":
        cut = np.quantile(odds[normal & frontal], 0.95)
        alarms = {"AP": (odds[normal & ~frontal] > cut).mean()}
        for key in run:
            if key.startswith(f"{kind}/"):
                shown = run[key][:, COVID] - run[key][:, NORMAL]
                alarms[key.split("/")[1]] = (shown > cut).mean()
        return {f"alarms_{name}": float(rate) for name, rate in alarms.items()} | {
            "worst_alarms": float(max(alarms.values()))
        }
    if fold != "covid-cxnet":
        return {}
    cut = np.quantile(odds[normal], 0.95)
    cases = {
        domain: np.array([row["domain"] == domain and row["label"] == COVID for row in rows])
        for domain in ("covid-cxnet", "hospital")
    }
    return {f"sensitivity_{domain}": float((odds[chosen] > cut).mean()) for domain, chosen in cases.items()}


def print_table(options: argparse.Namespace) -> None:
    """Print the arms as a Markdown table, each compared with the recipe of 0.1.0, and write `table.json`."""
    records = gather(read_datalist(options.datalist))
    recipe = read_runs(options.output / options.against, records, "average")
    lines = [
        "| arm, weights | seeds | primary | gain over the recipe | Kermany | ieee8023 | NIH "
        "| sensitivity covid-cxnet | sensitivity hospital | worst false alarms | adopt |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    results = {}
    for name in options.arms:
        for kind in options.weights:
            arm = read_runs(options.output / name, records, kind)
            if not arm["seeds"]:
                continue
            found = compare_arms(recipe["primary"], arm["primary"])
            results[f"{name}, {kind}"] = found | {"secondary": arm["secondary"]}
            gain, second, extra = found["gain"], found["second"], arm["secondary"]
            areas = " | ".join(f"{second['domains'][domain]['auroc']:.3f}" for domain in CONTRASTS)
            ends = "" if gain["low"] is None else f" ({gain['low']:.2f} to {gain['high']:.2f})"
            lines.append(
                f"| {name}, {kind} | {arm['seeds']} | {second['primary']:.2f} "
                f"| {gain['value']:.2f}{ends} | {areas} "
                f"| {extra['sensitivity_covid-cxnet']:.2f} | {extra['sensitivity_hospital']:.2f} "
                f"| {extra['worst_alarms']:.2f} | {'yes' if found['adopt'] else 'no'} |"
            )
    print("\n".join(lines))
    (options.output / "table.json").write_text(json.dumps(results, indent=2))


def save_unseen_sources(options: argparse.Namespace) -> None:
    """Write `unseen_sources.json` for a bundle that was made like the one arm of `--arms`, which was kept.

    Each domain is predicted by the network that was trained without it, calibrated on validation images of
    the other domains. `FOLD.csv` has these predictions, and those of COVID-19 test images of other domains.
    """
    datalist, (name,) = read_datalist(options.datalist), options.arms
    records, arm = gather(datalist), ARMS[name]
    images = load_images(records, arm.image_size, options.output / "cache", torch.device("cpu"))
    parts: list[tuple[Any, ...]] = []
    for fold in options.folds:
        own = {"covid-cxnet", "hospital"} if fold == "covid-cxnet" else {fold}
        network = read_kept(options.output / name / f"{fold}-{options.seeds[0]}.pt", arm)
        calibration = _calibrate(network, arm, records, images, own, datalist.class_names)
        threshold = 1 - calibration.conformal[datalist.class_names[NORMAL]]
        print(f"without {fold}: temperature {calibration.temperature:.2f}, abnormal above {threshold:.3f}")
        _, out = split_fold(records, fold, arm)
        out = [row for row in out if records[row]["domain"] in own]
        cases = {
            row
            for row, record in enumerate(records)
            if record["split"] == "test" and record["label"] == COVID and record["domain"] not in own
        }
        rows = sorted({*out, *cases})
        chances = calibration.apply(np.exp(score(network, images[rows], None, arm)))
        write_predictions(
            options.output / name / f"{fold}.csv",
            [
                {**records[row], "split": "test", "probabilities": each}
                for row, each in zip(rows, chances, strict=True)
            ],
            datalist.class_names,
        )
        found = dict(zip(rows, chances, strict=True))
        parts += [
            (records[row]["label"], found[row], records[row]["patient"], records[row]["domain"], threshold)
            for row in out
        ]
    labels, probabilities, patients, sources, thresholds = map(np.array, zip(*parts, strict=True))
    unseen = fit_unseen_sources(
        labels, probabilities, patients, sources, datalist.class_names, abnormal_threshold=thresholds
    )
    unseen.save(options.output / name / "unseen_sources.json")
    print(json.dumps(asdict(unseen), indent=2))


def _calibrate(
    network: nn.Module,
    arm: Arm,
    records: Sequence[Record],
    images: Tensor,
    left_out: set[str],
    class_names: Sequence[str],
) -> Calibration:
    """Fit the calibration of a fold on the validation images of the domains that are not left out."""
    rows = [
        row
        for row, record in enumerate(records)
        if record["split"] == "validation" and record["domain"] not in left_out
    ]
    chosen = [records[row] for row in rows]
    return fit_calibration(
        np.array([record["label"] for record in chosen]),
        np.exp(score(network, images[rows], None, arm)),
        class_names=class_names,
        patients=[record["patient"] for record in chosen],
        sources=[record["source"] for record in chosen],
        chosen_on={"split": "validation", "n": len(chosen)},
    )


def main() -> None:
    """Train, print the table, or write the cuts for hospitals that a training has not seen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("train", "table", "unseen_sources"))
    parser.add_argument("--datalist", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--steps", type=int, default=300, help="of 32 images; an arm may have a multiple")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--folds", nargs="+", choices=FOLDS, default=FOLDS)
    parser.add_argument(
        "--weights", nargs="+", choices=WEIGHTS, default=["average"], help="kinds that are scored or compared"
    )
    parser.add_argument("--keep", action="store_true", help="keep the averaged weights beside the scores")
    parser.add_argument("--against", default="recipe_0_1_0", help="arm that the table compares with")
    options = parser.parse_args()
    tasks = {"train": train_all, "table": print_table, "unseen_sources": save_unseen_sources}
    tasks[options.task](options)


if __name__ == "__main__":
    main()
