"""Decoders that may end, block or bloat their process run in one of its own, which this module starts and is.

GDCM aborts on many damaged streams and on some that are only rare; OpenJPEG and CharLS may run for long. A
stream that ends the child costs one image. 8-bit JPEG is decoded by Pillow, in the calling process.
"""

import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
from queue import Empty, SimpleQueue
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from covid_monai.core.vocabulary import DecoderNotStarted, UnreadableImage

CPU_SECONDS = 60  # of one frame; the largest radiographs take 10
_MEMORY_BYTES = 6 << 30  # address space; the largest radiographs take 2 GiB
_EXTENDED, _LOSSLESS = "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57"
_WAY_OUT = "Fetch or export the file again."
_START_SECONDS = 120.0  # longest time until a child is ready
_READY = b"ready\n"
_CHILDREN: dict[int, "SimpleQueue[subprocess.Popen[bytes]]"] = {}  # idle ones, by process: forks have none


def decode_apart(content: bytes, *, format_name: str, shape: tuple[int, ...], precision: int) -> NDArray[Any]:
    """Decode a codestream in a child process, which is kept for the next one.

    Args:
        content: The codestream, whose header agrees with `shape` and `precision`.
        format_name: A `Format`, or "RLE".
        shape: Rows, columns and, where it has several, samples.
        precision: Bits of a sample; for RLE those allocated.

    Returns:
        The samples, in as many bytes as they need.

    Raises:
        UnreadableImage: The decoder refuses the stream, ends its process or takes too long.
        DecoderNotStarted: The child cannot be started.
    """
    idle = _CHILDREN.setdefault(os.getpid(), SimpleQueue())
    child = _idle_child(idle) or start_child(__name__)
    request = {"format": format_name, "shape": shape, "precision": precision, "length": len(content)}
    try:
        pixels = _ask(child, request, content)
    except (OSError, ValueError) as error:  # a broken pipe, or an answer that ends early
        end_child(child)
        slow = child.returncode == -signal.SIGVTALRM
        problem = f"takes more than {CPU_SECONDS} s" if slow else "fails and ends its process"
        message = f"The decoder of its {format_name} stream {problem}. {_WAY_OUT}"
        raise UnreadableImage(message) from error
    except BaseException:  # Ctrl-C: half an answer may be left in the pipe
        end_child(child)
        raise
    idle.put(child)
    if isinstance(pixels, str):
        raise UnreadableImage(f"Its {format_name} stream is damaged or not supported ({pixels}). {_WAY_OUT}")
    return pixels


def _idle_child(idle: "SimpleQueue[subprocess.Popen[bytes]]") -> "subprocess.Popen[bytes] | None":
    while True:
        try:
            child = idle.get_nowait()
        except Empty:
            return None
        if child.poll() is None:
            return child


def start_child(module: str, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start `python -m module`, which calls `open_answers` before it reads requests on its standard input.

    Raises:
        DecoderNotStarted: There is no child, for example because memory or processes have run out.
    """
    # One thread each: images are decoded in parallel, and idle threads' stacks count as address space.
    environment = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")}
    way_out = "Free memory or processes of this machine, and try again."
    try:
        # -P: modules that lie in the working directory, beside the images, are not run.
        child = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
            start_new_session=True,  # Ctrl-C in a terminal is for the parent
        )  # fmt: skip
    except OSError as error:
        problem = f"The process that decodes images cannot be started ({error.strerror})."
        raise DecoderNotStarted(f"{problem} {way_out}") from error
    assert child.stdout is not None
    # Ready: the start does not count as the first image's time.
    if not wait_until_readable(child.stdout, _START_SECONDS) or child.stdout.readline() != _READY:
        end_child(child)
        raise DecoderNotStarted(f"The process that decodes images ends or blocks at its start. {way_out}")
    return child


def wait_until_readable(pipe: IO[bytes], seconds: float) -> bool:
    """Wait until a pipe has content or is closed; return whether that was in time."""
    poll = select.poll()  # not `select.select`, which takes the first 1,024 files of a process only
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def end_child(child: "subprocess.Popen[bytes]") -> None:
    """Kill a child and wait for its end."""
    child.kill()
    child.communicate()


def _ask(child: "subprocess.Popen[bytes]", request: dict[str, Any], content: bytes) -> NDArray[Any] | str:
    """Return the pixels, or why there are none."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(request).encode() + b"\n" + content)
    child.stdin.flush()
    answer = json.loads(child.stdout.readline())
    if "problem" in answer:
        return str(answer["problem"])
    dtype, shape = np.dtype(answer["dtype"]), request["shape"]
    pixels = child.stdout.read(dtype.itemsize * math.prod(shape))
    return np.frombuffer(pixels, dtype).reshape(shape)  # ValueError if the answer is cut


def _decode(content: bytes, *, format_name: str, shape: tuple[int, ...], precision: int) -> NDArray[Any]:
    # Imported here: each loads its own library.
    if format_name == "JPEG 2000":
        import openjpeg

        return np.asarray(openjpeg.decode(content, j2k_format=0))
    if format_name == "RLE":
        from rle.rle import decode_frame  # type: ignore[import-not-found]

        rows, columns, samples = (*shape, 1)[:3]
        cells = np.frombuffer(decode_frame(content, rows * columns, precision, "<"), f"<u{precision // 8}")
        return np.moveaxis(cells.reshape(samples, rows, columns), 0, -1).reshape(shape)
    if format_name == "JPEG-LS":
        import jpeg_ls  # type: ignore[import-untyped]

        return np.asarray(jpeg_ls.jlsread(content))
    syntax = _EXTENDED if format_name == "JPEG Extended" else _LOSSLESS
    return _decode_with_gdcm(content, syntax=syntax, shape=shape, precision=precision)


def _decode_with_gdcm(content: bytes, *, syntax: str, shape: tuple[int, ...], precision: int) -> NDArray[Any]:
    import gdcm  # type: ignore[import-untyped]

    rows, columns, samples = (*shape, 1)[:3]
    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(content)
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    kinds = gdcm.PhotometricInterpretation
    image.SetPhotometricInterpretation(kinds(kinds.RGB if samples > 1 else kinds.MONOCHROME2))
    if samples > 1:
        image.SetPlanarConfiguration(0)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    # GDCM aborts where fewer bits are stored than allocated.
    bits = 8 if precision <= 8 else 16
    image.SetPixelFormat(gdcm.PixelFormat(samples, bits, bits, bits - 1, 0))
    buffer = image.GetBuffer()  # a str that carries bytes, None on failure
    if not buffer:
        raise ValueError("the decoder gives no pixels")
    return np.frombuffer(buffer.encode("utf-8", "surrogateescape"), f"<u{bits // 8}").reshape(shape)


def open_answers(memory_bytes: int) -> BinaryIO:
    """Limit this process to an address space, and return the pipe for its answers once it is ready."""
    inherited = [n for n in resource.getrlimit(resource.RLIMIT_AS) if n != resource.RLIM_INFINITY]
    limit = min([memory_bytes, *inherited])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the patient's image
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # decoders print to the standard output at times
    answers.write(_READY)
    answers.flush()
    return answers


def _serve() -> None:
    """Answer requests on the standard input until it closes, which it does when the parent dies."""
    answers, requests = open_answers(_MEMORY_BYTES), sys.stdin.buffer
    for line in requests:
        request = json.loads(line)
        content, shape = requests.read(request["length"]), tuple(request["shape"])
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)  # computing time: a busy machine is no hang
        try:
            name, precision = request["format"], request["precision"]
            pixels = _decode(content, format_name=name, shape=shape, precision=precision)
            if pixels.shape != shape:
                raise ValueError(f"the decoder gives pixels of shape {pixels.shape}")
        except Exception as error:  # noqa: BLE001  # decoders raise many types, and the next stream may be whole
            answers.write(json.dumps({"problem": f"{type(error).__name__}: {error}"[:200]}).encode() + b"\n")
        else:
            answers.write(json.dumps({"dtype": pixels.dtype.str}).encode() + b"\n")
            answers.write(pixels.tobytes())
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        answers.flush()


if __name__ == "__main__":
    _serve()
