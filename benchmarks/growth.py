"""Growth of time and memory with the number of images: prepare, audit, one epoch of training, evaluate.

    python benchmarks/growth.py                                  # 1,000 and 4,000 images: about three minutes
    python benchmarks/growth.py --full --plot growth.png         # 1,000, 10,000 and 100,000: 75 minutes
    python benchmarks/growth.py --sizes 10000 100000 --stages evaluate

Images are phantoms of 192 x 192, each bent at random, so that no two are the same image. One in fifty occurs
again, resized; `prepare` and `audit` must find exactly these copies. Each measurement has a process of its
own. Memory is the private memory of that process (Linux: RssAnon), with the libraries. The slope is that of
the logarithms of processor time and of memory, from each size to the next: 1 is linear. The network is small
and gets 32 x 32 pixels, so that it does not hide the cost of loading and bookkeeping.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from common import table

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "bundles" / "covid_cxr_classification"
CLASSES = ("normal", "pneumonia", "covid")
SIZES, FULL_SIZES = (1000, 4000), (1000, 10_000, 100_000)
SIDE = 192  # pixels
DRAWN = 60  # phantoms, from which all images are bent
COPIED = 50  # one image in 50 occurs again


def main() -> None:
    """Measure each stage at each size, print a table, and fail if a result is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--full", action="store_true", help="measure the sizes of docs/performance.md")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=tuple(STAGES))
    parser.add_argument("--output", type=Path, default=Path("growth.json"))
    parser.add_argument("--plot", type=Path, help="PNG file of the curves")
    parser.add_argument("--one", nargs=2, metavar=("STAGE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(STAGES[options.one[0]], Path(options.one[1]))))
        return
    sizes = sorted(FULL_SIZES if options.full else options.sizes)
    with tempfile.TemporaryDirectory() as name:
        rows = []
        for row in measure_all(Path(name), sizes, options.stages):
            rows.append(row)
            done = f"{row['stage']}, {row['images']} images: {row['seconds']:.0f} s"
            print(done, file=sys.stderr, flush=True)
            options.output.write_text(json.dumps(add_slopes(rows), indent=2))  # kept if the run ends early
    rows = add_slopes(rows)
    table(rows, f"Growth, {os.cpu_count()} cores")
    if options.plot:
        plot(rows, options.plot)
    if not all(row["right"] for row in rows):
        raise SystemExit("A stage gave a wrong result, so the figures above are not valid.")


def measure_all(folder: Path, sizes: list[int], stages: tuple[str, ...]) -> Iterator[dict]:
    """Yield a row for each stage and size, each measured in a process of its own."""
    images = folder / "images"
    if set(stages) - {"evaluate"}:
        write_images(images, max(sizes))
    for size in sizes:
        place = folder / str(size)
        link_images(images, place / "images", size)
        (place / "size").write_text(str(size))
        for stage in STAGES:  # in this order, because training reads the output of prepare
            if stage in stages or (stage == "prepare" and set(stages) & {"audit", "train"}):
                command = [sys.executable, "-W", "ignore", __file__, "--one", stage, str(place)]
                env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{place / 'mlruns.db'}"}
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=env)
                yield {"stage": stage, "images": size, **json.loads(done.stdout.splitlines()[-1])}


def write_images(folder: Path, count: int) -> None:
    """Write `count` images, one folder per class: phantoms bent at random, some of them twice."""
    import cv2

    from covid_monai.phantoms.radiograph import draw_radiograph

    bases = [
        (draw_radiograph(CLASSES[i % 3], seed=i, size=SIDE) * 255).astype(np.uint8) for i in range(DRAWN)
    ]
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for number in range(count):
        copied = number % COPIED == COPIED - 1
        rng = np.random.default_rng(number - copied)  # a copy has the number of the image before it
        base = bases[(number - copied) % DRAWN]
        bent = rng.normal(0, 0.035 * SIDE, (4, 4, 2)).astype(np.float32)
        bent = cv2.resize(bent, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        image = cv2.remap(base, x + bent[..., 0], y + bent[..., 1], cv2.INTER_LINEAR)
        if copied:
            image = cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
        path = folder / CLASSES[(number - copied) % 3] / f"{number:06d}.jpg"
        cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 85])


def link_images(images: Path, folder: Path, count: int) -> None:
    """Make a folder with links to the first `count` images."""
    folder.mkdir(parents=True)
    for path in images.glob("*/*.jpg"):
        if int(path.stem) < count:
            (folder / path.parent.name).mkdir(exist_ok=True)
            (folder / path.parent.name / path.name).hardlink_to(path)


def measured(stage: Callable[[Path], Callable[[], bool]], folder: Path) -> dict:
    """Return seconds and memory of the function that a stage returns; imports and input do not count."""
    work = stage(folder)
    with peak_memory() as peak:
        begin, used = time.perf_counter(), time.process_time()
        right = work()
        seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - used
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "memory_mib": peak[0], "right": right}


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Measure the peak of private memory of this process in MiB, every 20 ms, without pages of files."""
    peak, finished = [0.0], threading.Event()

    def sample() -> None:
        while not finished.wait(0.02):
            status = Path("/proc/self/status").read_text()
            own = next(line for line in status.splitlines() if line.startswith("RssAnon"))
            peak[0] = max(peak[0], int(own.split()[1]) / 1024)

    watcher = threading.Thread(target=sample, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        finished.set()
        watcher.join()


def prepare_stage(folder: Path) -> Callable[[], bool]:
    """Prepare as `covid-monai data prepare folder DIR`."""
    from covid_monai.datasets import prepare
    from covid_monai.datasets.duplicates import detection as duplicates
    from covid_monai.readers import radiograph

    assert duplicates
    assert radiograph

    def work() -> bool:
        data = prepare.prepare([("folder", folder / "images")], output=folder / "datalist.json")
        groups = {item["group"] for items in data.splits.values() for item in items if "group" in item}
        return len(groups) == planted(folder)

    return work


def audit_stage(folder: Path) -> Callable[[], bool]:
    """Audit as `covid-monai data audit datalist.json`."""
    import typer

    from covid_monai.cli.data import audit
    from covid_monai.datasets import leaks
    from covid_monai.evaluation.report import audit_page
    from covid_monai.evaluation.shortcuts import confounding_audit

    assert leaks
    assert audit_page
    assert confounding_audit

    def work() -> bool:
        try:
            audit(folder / "datalist.json", output=folder / "audit")
        except typer.Exit as end:
            report = json.loads((folder / "audit" / "audit.json").read_text())
            counts = report["counts"]
            return end.exit_code == 0 and counts["duplicate_groups"] == counts["near_pairs"] == planted(
                folder
            )
        return False

    return work


def train_stage(folder: Path) -> Callable[[], bool]:
    """Train one epoch with validation and the end of a training, on decoded images in memory."""
    from monai.bundle import ConfigWorkflow

    settings = {"datalist": str(folder / "datalist.json"), "output_dir": str(folder / "run")}
    settings |= {"network_name": "resnet10", "image_size": 32, "max_epochs": 1, "batch_size": 64}
    workflow = ConfigWorkflow(
        config_file=str(BUNDLE / "configs" / "train.yaml"),
        logging_file=False,
        run_id="training",
        bundle_root=str(BUNDLE),
        **settings,
    )

    def work() -> bool:
        workflow.initialize()
        workflow.run()
        return (folder / "run" / "models" / "model.pt").is_file()

    return work


def evaluate_stage(folder: Path) -> Callable[[], bool]:
    """Write `metrics.json` and `report.html` from predictions, a fifth as many for validation as for test."""
    from sklearn.metrics import roc_auc_score

    from covid_monai.evaluation.metrics.prediction_table import read_predictions, write_predictions
    from covid_monai.evaluation.report.report_files import write_report

    size, rng = int((folder / "size").read_text()), np.random.default_rng(0)
    write_predictions(folder / "predictions.csv", predictions(size, rng), CLASSES)

    def work() -> bool:
        report = write_report(
            folder / "predictions.csv", folder / "report", operating_point=None, provenance={}
        )
        test = read_predictions(folder / "predictions.csv").split("test")
        expected = roc_auc_score(test.labels, test.probabilities, multi_class="ovr", average="macro")
        return math.isclose(report["test"]["auroc"]["value"], expected, abs_tol=1e-9)

    return work


def predictions(size: int, rng: np.random.Generator) -> Iterator[dict]:
    """Yield rows of a mediocre network: three images per two patients, three sources, sex, view and age."""
    for number in range(size + size // 5):
        label = int(rng.integers(3))
        logits = rng.normal(0, 1, 3) + 1.5 * np.eye(3)[label]
        probabilities = np.exp(logits) / np.exp(logits).sum()
        yield {
            "image": f"{number:07d}.jpg",
            "split": "test" if number < size else "validation",
            "patient": f"p{number * 2 // 3}" if number < size else f"v{number * 2 // 3}",
            "source": "abc"[int(rng.integers(3))],
            "view": ("PA", "AP")[number % 2],
            "sex": "FM"[int(rng.integers(2))],
            "age": int(rng.integers(5, 90)),
            "label": label,
            "probabilities": probabilities.round(6).tolist(),
        }


def planted(folder: Path) -> int:
    """Return the number of images that occur twice."""
    return int((folder / "size").read_text()) // COPIED


def add_slopes(rows: list[dict]) -> list[dict]:
    """Add the slopes of processor time and of memory from the previous size."""
    before: dict[str, dict] = {}
    for row in rows:
        last = before.get(row["stage"])
        step = math.log(row["images"] / last["images"]) if last else 0.0
        row["time_slope"] = math.log(row["cpu_seconds"] / last["cpu_seconds"]) / step if last else None
        row["memory_slope"] = math.log(row["memory_mib"] / last["memory_mib"]) / step if last else None
        before[row["stage"]] = row
    return sorted(rows, key=lambda row: list(STAGES).index(row["stage"]))


def plot(rows: list[dict], path: Path) -> None:
    """Draw processor time and memory against images, on logarithmic axes, with a linear line to compare."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, key, label in zip(
        figure.subplots(1, 2),
        ("cpu_seconds", "memory_mib"),
        ("processor time, s", "memory, MiB"),
        strict=True,
    ):
        for stage in dict.fromkeys(row["stage"] for row in rows):
            points = [(row["images"], row[key]) for row in rows if row["stage"] == stage]
            axes.loglog(*zip(*points, strict=True), marker="o", label=stage)
        sizes = sorted({row["images"] for row in rows})
        start = max(row[key] for row in rows if row["images"] == sizes[0])
        axes.loglog(sizes, [start * size / sizes[0] for size in sizes], "k:", label="linear")
        axes.set(xlabel="images", ylabel=label)
        axes.legend()
    figure.savefig(path, dpi=120)


STAGES = {"prepare": prepare_stage, "audit": audit_stage, "train": train_stage, "evaluate": evaluate_stage}

if __name__ == "__main__":
    main()
