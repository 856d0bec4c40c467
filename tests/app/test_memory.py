"""64 callers at once with archives that inflate a hundred times, at the REST service and at the page."""

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
from api_helpers import Served, zipped
from app_helpers import Server
from dicom_helpers import make_ds, save

MIB = 1 << 20
CALLERS, MEMBERS, LIMIT = 64, 8, 4  # MiB for one file, so 128 MiB for all callers together


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> bytes:
    """Eight images of almost 4 MiB, in a hundredth of that."""
    rows = np.random.default_rng(0).integers(0, 4000, (28, 28))
    pixels = np.kron(rows, np.ones((50, 50))).astype(np.uint16)
    path = tmp_path_factory.mktemp("image") / "image.dcm"
    save(make_ds(pixels, BitsAllocated=16, BitsStored=12, HighBit=11), path)
    data = path.read_bytes()
    packed = zipped([(f"{number}.dcm", data) for number in range(MEMBERS)])
    assert 3.5 * MIB < len(data) < LIMIT * MIB
    assert MEMBERS * len(data) > 100 * len(packed)
    return packed


def peak_mib(process) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


@pytest.mark.slow
@pytest.mark.parametrize("command", ["serve", "app"])
def test_what_archives_inflate_to_is_bounded_for_all_callers_together(tmp_path, archive, command):
    running = (Served if command == "serve" else Server)(tmp_path, "--max-upload-mib", LIMIT)
    try:

        def place(_):
            if command == "serve":
                return f"{running.url}/v1/predict"
            return running.url + running.upload_path()

        def call(address):
            return requests.post(address, data=archive, headers=headers, timeout=300)

        headers = {"Content-Type": "application/zip", "X-File-Name": "a.zip"}
        assert call(place(None)).ok  # the first batch loads what every batch needs
        with ThreadPoolExecutor(CALLERS) as pool:
            places = list(pool.map(place, range(CALLERS)))
            before = peak_mib(running.process)
            answers = list(pool.map(call, places))
        found = Counter(answer.status_code for answer in answers)
        refused = 503 if command == "serve" else 413
        assert set(found) == {200, refused}
        assert all("Remove images" in one.json()["detail"] for one in answers if one.status_code == refused)
        # All archives together inflate to 1,900 MiB. Some memory is for decoding and for the answers.
        assert peak_mib(running.process) - before < 32 * LIMIT + 100
    finally:
        running.stop()
