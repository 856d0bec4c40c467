"""The child process that decodes: it ends instead of the caller, and the next stream gets a new one."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from codestreams import SYNTAXES, deadly_jpeg, jpeg2000, jpeg_ls, lossless_jpeg, wrapped
from dicom_helpers import picture
from hostile_files import plant_modules

from covid_monai.core.vocabulary import DecoderNotStarted, UnreadableImage
from covid_monai.dicom.pixels import decoder_process
from covid_monai.dicom.pixels.decode import decode_pixels
from covid_monai.dicom.pixels.decoder_process import decode_apart


@pytest.fixture(autouse=True)
def new_children(monkeypatch):
    monkeypatch.setattr(decoder_process, "_CHILDREN", {})


def lossless(pixels):
    stream = lossless_jpeg(pixels, 8)
    return decode_apart(stream, format_name="JPEG Lossless", shape=pixels.shape, precision=8)


@pytest.mark.parametrize("precision", [2, 5, 7, 8, 9, 12, 15, 16])
@pytest.mark.parametrize(("kind", "encode"), [("lossless", lossless_jpeg), ("jpeg-ls", jpeg_ls)])
def test_every_precision_is_decoded_exactly(kind, encode, precision):
    """GDCM aborts for some of them, if it is told the bits stored."""
    pixels = picture(top=2**precision - 1, dtype=np.uint8 if precision <= 8 else np.uint16)
    allocated = 8 if precision <= 8 else 16
    ds = wrapped(
        encode(pixels, precision), SYNTAXES[kind], pixels.shape, allocated=allocated, stored=precision
    )
    codes, bits = decode_pixels(ds)
    np.testing.assert_array_equal(codes, pixels)
    assert bits == precision


@pytest.mark.parametrize("precision", [7, 8, 12, 16])
def test_jpeg_2000_is_decoded_exactly(precision):
    pixels = picture(top=2**precision - 1, dtype=np.uint8 if precision <= 8 else np.uint16)
    decoded = decode_apart(
        jpeg2000(pixels, precision), format_name="JPEG 2000", shape=pixels.shape, precision=precision
    )
    np.testing.assert_array_equal(decoded, pixels)


def test_a_decoder_that_aborts_costs_one_image():
    pixels = picture()
    np.testing.assert_array_equal(lossless(pixels), pixels)
    with pytest.raises(UnreadableImage, match="fails and ends its process"):
        decode_apart(deadly_jpeg(pixels), format_name="JPEG Lossless", shape=pixels.shape, precision=8)
    np.testing.assert_array_equal(lossless(pixels), pixels)


def test_a_child_that_is_killed_costs_at_most_the_image_in_hand(monkeypatch):
    pixels, children, start = picture(), [], decoder_process.start_child
    monkeypatch.setattr(
        decoder_process, "start_child", lambda name: children.append(start(name)) or children[-1]
    )
    lossless(pixels)
    children[0].kill()  # while it waits
    children[0].wait()
    np.testing.assert_array_equal(lossless(pixels), pixels)
    os.kill(children[1].pid, signal.SIGSTOP)  # while it decodes
    threading.Timer(0.3, children[1].kill).start()
    with pytest.raises(UnreadableImage, match="fails and ends its process"):
        lossless(pixels)
    np.testing.assert_array_equal(lossless(pixels), pixels)
    assert len(children) == 3


def test_a_decoder_that_computes_for_too_long_is_ended(monkeypatch):
    loop = "import sys, signal; print('ready', flush=True); sys.stdin.buffer.readline();"
    loop += "signal.setitimer(signal.ITIMER_VIRTUAL, 0.2)\nwhile True: pass"
    monkeypatch.setattr(decoder_process, "start_child", lambda _: _child(loop))
    begin = time.monotonic()
    with pytest.raises(UnreadableImage, match="takes more than 60 s"):
        lossless(picture())
    assert time.monotonic() - begin < 30


def _child(program):
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    return child


def test_a_child_that_cannot_start_is_no_fault_of_the_image(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DecoderNotStarted):
        lossless(picture())


def test_modules_beside_the_images_are_not_run(monkeypatch, tmp_path):
    plant_modules(tmp_path)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(lossless(picture()), picture())


def test_threads_decode_at_the_same_time():
    pixels, decoded = [picture(top=top) for top in (255, 200, 150)], {}
    threads = [
        threading.Thread(target=lambda k=k: decoded.update({k: lossless(pixels[k])})) for k in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(3):
        np.testing.assert_array_equal(decoded[k], pixels[k])
