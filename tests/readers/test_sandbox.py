"""Decode sandbox: the reader's verdict for any file, and a child process that ends instead of the service."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from dicom_helpers import make_ds, picture, save
from hostile_files import huge_header, nested, plant_modules, truncated
from pydicom.uid import JPEG2000Lossless

from covid_monai.core.vocabulary import DecoderNotStarted, Status
from covid_monai.readers.sandbox import DecodeSandbox


@pytest.fixture(scope="module")
def check():
    found = DecodeSandbox(seconds=20, memory_mib=1024, target_size=8)
    yield found
    found.close()


def test_the_sandbox_passes_images_and_gives_the_readers_reason_for_others(check, tmp_path):
    assert check.check(save(make_ds(picture()), tmp_path / "image.dcm")).status is Status.OK
    verdict = check.check(huge_header(tmp_path / "huge.dcm"))
    assert (verdict.status, verdict.reason) == (Status.REFUSED, "too_large")
    assert check.check(truncated(tmp_path / "short.dcm"))[:2] == (Status.ERROR, "unreadable")
    assert check.check(nested(tmp_path / "nested.dcm", depth=300))[:2] == (Status.ERROR, "unreadable")
    assert check.check(nested(tmp_path / "deep.dcm", depth=30_000))[:2] == (Status.ERROR, "unreadable")
    assert check.check(tmp_path / "none.dcm")[:2] == (Status.ERROR, "unreadable")
    assert check.check(save(make_ds(picture()), tmp_path / "image2.dcm")).status is Status.OK


@pytest.mark.slow
def test_an_image_that_needs_too_much_memory_ends_only_the_child(tmp_path):
    small = DecodeSandbox(seconds=60, memory_mib=1)
    image = np.tile(picture(2000, 2000, dtype=np.uint16, top=4095), (4, 4))
    path = save(make_ds(image, bits_stored=12), tmp_path / "large.dcm")
    verdict = small.check(path)
    assert verdict.status is Status.ERROR
    assert verdict.reason in ("too_much_memory", "unreadable", "decoder_crashed")  # as the decoder takes it
    small.close()


@pytest.mark.slow
def test_an_image_that_takes_too_long_or_crashes_ends_only_the_child(tmp_path):
    image = save(make_ds(picture()), tmp_path / "image.dcm")
    check = DecodeSandbox(seconds=60, memory_mib=1024)
    patient = DecodeSandbox(seconds=60, memory_mib=1024)
    for one in (check, patient):
        assert one.check(image).status is Status.OK
        os.kill(one._child.pid, signal.SIGSTOP)  # its answer never comes
    check._seconds = 0.5
    assert check.check(image).reason == "too_slow"
    threading.Timer(0.5, patient._child.kill).start()
    assert patient.check(image).reason == "decoder_crashed"
    for one in (check, patient):
        one._seconds = 60
        assert one.check(image).status is Status.OK
        one.close()


def test_modules_beside_the_images_are_not_run(monkeypatch, tmp_path):
    image = save(make_ds(picture()), tmp_path / "image.dcm")
    plant_modules(tmp_path)
    monkeypatch.chdir(tmp_path)
    sandbox = DecodeSandbox(seconds=20, memory_mib=1024)
    assert sandbox.check(image).status is Status.OK
    sandbox.close()


@pytest.mark.parametrize("executable", ["/no/such/python", "/bin/false"])
def test_a_child_that_cannot_start_is_no_verdict_about_the_file(tmp_path, monkeypatch, executable):
    image = save(make_ds(picture()), tmp_path / "image.dcm")
    sandbox = DecodeSandbox(seconds=20, memory_mib=1024)
    with monkeypatch.context() as broken:
        broken.setattr("sys.executable", executable)
        with pytest.raises(DecoderNotStarted, match=r"decodes images (cannot be started|ends or blocks)"):
            sandbox.check(image)
    assert sandbox.check(image).status is Status.OK  # as soon as a child can start
    sandbox.close()


@pytest.mark.slow
@pytest.mark.parametrize("executable", ["/no/such/python", "/bin/false"])
def test_a_decoder_of_the_child_that_cannot_start_is_no_verdict_about_the_file(
    tmp_path, monkeypatch, executable
):
    """JPEG 2000 is decoded in a process that the child starts itself."""
    ds = make_ds(picture())
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    image = save(ds, tmp_path / "image.dcm")
    start = (
        f"import sys; sys.executable = {executable!r}; from covid_monai.readers.sandbox import _try_to_read; "
    )
    code = f"{start}print(_try_to_read({str(image)!r}, 0)[1])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "DecoderNotStarted\n"
    sandbox = DecodeSandbox(seconds=20, memory_mib=1024)
    monkeypatch.setattr("json.loads", lambda _: ["error", "DecoderNotStarted", "No process is left."])
    with pytest.raises(DecoderNotStarted, match="No process is left"):
        sandbox.check(image)
    sandbox.close()
