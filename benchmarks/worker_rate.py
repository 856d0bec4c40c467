"""Measure the worker beside a real Orthanc: images per second, seconds for a single image, memory.

    python benchmarks/worker_rate.py --images 500 --singles 20
    python benchmarks/worker_rate.py --images 5000 --singles 0        # does memory stay the same?

storescu sends phantoms, the shipped bundle classifies them, and each gets a report, a heat map and outlines.
The latency is the time from the end of storescu until a search finds the report. Needs Orthanc and DCMTK.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from pydicom import dcmread
from rich.console import Console
from rich.table import Table

sys.path.insert(
    0, str(Path(__file__).parents[1] / "tests")
)  # Orthanc and the service are started as in the tests

from pacs_helpers import Orthanc, Worker, images, memory_mib, wait_until

REPORT = "1.2.840.10008.5.1.4.1.1.88.33"
CHUNK = 250  # images on disk at once


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--singles", type=int, default=20)
    parser.add_argument("--size", type=int, default=1024, help="rows and columns of an image")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("worker_rate.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), options)
    options.output.write_text(json.dumps(found, indent=2))
    table = Table("what", "value", title=f"{options.images} images of {options.size} x {options.size}")
    for key, value in found.items():
        table.add_row(key, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
    Console().print(table)


def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Start Orthanc and worker, send images, and measure times and memory."""
    orthanc = Orthanc(folder / "orthanc")
    archive = {"name": "main", "source": "orthanc", "url": orthanc.url, "start": "beginning"}
    archive |= {"poll_seconds": 0.5, "connections": options.connections}
    worker = Worker(folder / "worker", archive, batch_size=options.batch_size)
    worker.start()
    try:
        seconds = [
            _measure_single(orthanc, folder, number, size=options.size) for number in range(options.singles)
        ]
        rate, memory = _measure_rate(orthanc, worker, folder, options)
    finally:
        worker.end()
        orthanc.stop()
    return {
        "images_a_second": rate,
        "single_median_s": round(statistics.median(seconds), 2) if seconds else None,
        "single_longest_s": round(max(seconds), 2) if seconds else None,
        "resident_mib_by_tenths": memory,
    }


def _measure_single(orthanc: Orthanc, folder: Path, number: int, *, size: int) -> float:
    (path,) = images(folder / "single", 1, size=size, seed=1000 + number)
    orthanc.send([path])
    begin, study = time.monotonic(), str(dcmread(path, stop_before_pixels=True).StudyInstanceUID)
    wait_until(lambda: orthanc.find(StudyInstanceUID=study, SOPClassUID=REPORT), seconds=60, every=0.05)
    return time.monotonic() - begin


def _measure_rate(
    orthanc: Orthanc, worker: Worker, folder: Path, options: argparse.Namespace
) -> tuple[float, list[int]]:
    """Return rate and memory while images always wait: more are sent before the last are finished."""
    before = worker.metric("answered_total")
    begin, sent, memory = time.monotonic(), 0, []
    for chunk in range(-(-options.images // CHUNK)):
        count = min(CHUNK, options.images - sent)
        orthanc.send(images(folder / "waiting", count, size=options.size, seed=chunk))
        shutil.rmtree(folder / "waiting")
        sent += count
        while (done := worker.metric("answered_total") - before) < max(sent - CHUNK // 2, 0):
            _record_memory(memory, worker, done, options.images)
            time.sleep(1)
    while (done := worker.metric("answered_total") - before) < options.images:
        _record_memory(memory, worker, done, options.images)
        time.sleep(1)
    return round(options.images / (time.monotonic() - begin), 2), memory


def _record_memory(memory: list[int], worker: Worker, done: float, images: int) -> None:
    if done >= len(memory) * images / 10:
        memory.append(round(memory_mib(worker.process)))


if __name__ == "__main__":
    main()
