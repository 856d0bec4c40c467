"""Measure many clients at once: does every request get its answer, and how long does it take?

    python benchmarks/rest_load.py --clients 50 --requests 10
    python benchmarks/rest_load.py --url http://127.0.0.1:8080          # a service that runs already

It starts `covid-monai serve` with the shipped bundle. Each client sends one phantom image (CR or DX) after
another on a connection of its own, without a pause. A run with one client shows the time of an idle service.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import requests
from common import table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # images and service are made as in the tests

from api_helpers import Served
from pacs_helpers import images


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=10, help="requests of each client")
    parser.add_argument("--size", type=int, default=1024, help="rows and columns of an image")
    parser.add_argument("--url", help="address of a running service; by default the benchmark starts one")
    parser.add_argument("--output", type=Path, default=Path("rest_load.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, _service(Path(name), options.url) as url:
        content = [path.read_bytes() for path in images(Path(name) / "images", 6, size=options.size)]
        rows = [
            load(url, content, clients=clients, requests_each=options.requests)
            for clients in (1, options.clients)
        ]
    options.output.write_text(json.dumps(rows, indent=2))
    table(rows, f"POST /v1/predict, images of {options.size} x {options.size}")


def load(url: str, images: list[bytes], *, clients: int, requests_each: int) -> dict[str, object]:
    """Send and time requests.

    Args:
        url: Address of the service.
        images: Bodies, which are sent in turn.
        clients: Number of clients at the same time.
        requests_each: Number of requests that each client sends one after another.

    Returns:
        Clients, requests, `errors` (answers without a record of status ok or refused), seconds of a request
        (median, p95, longest) and requests per second.
    """

    def client(number: int) -> list[tuple[str, float]]:
        found = []
        with requests.Session() as session:
            for turn in range(requests_each):
                begin = time.perf_counter()
                outcome = _outcome(session, url, images[(number + turn) % len(images)])
                found.append((outcome, time.perf_counter() - begin))
        return found

    begin = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = [answer for answers in pool.map(client, range(clients)) for answer in answers]
    taken = time.perf_counter() - begin
    seconds = np.array([one for _, one in answers])
    outcomes = Counter(outcome for outcome, _ in answers)
    return {
        "clients": clients,
        "requests": len(answers),
        "errors": len(answers) - outcomes["answered"],
        "median s": float(np.median(seconds)),
        "p95 s": float(np.quantile(seconds, 0.95)),
        "longest s": float(seconds.max()),
        "requests/s": len(answers) / taken,
    }


def _outcome(session: requests.Session, url: str, image: bytes) -> str:
    try:
        answer = session.post(
            f"{url}/v1/predict", data=image, headers={"Content-Type": "application/dicom"}, timeout=120
        )
        (record,) = answer.json()["predictions"]
    except (requests.RequestException, KeyError, ValueError) as error:
        return type(error).__name__
    return "answered" if record["status"] in ("ok", "refused") else str(record["reason"])


@contextmanager
def _service(folder: Path, url: str | None):  # noqa: ANN202
    if url is not None:
        yield url.rstrip("/")
        return
    served = Served(folder)
    try:
        yield served.url
    finally:
        served.stop()


if __name__ == "__main__":
    main()
