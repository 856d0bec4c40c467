"""Codestreams that tests make, and files around them whose headers say the same or something else."""

import io

import numpy as np
from dicom_helpers import make_ds
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless


def word(number):
    return number.to_bytes(2, "big")


def lossless_jpeg(pixels, precision, *, rows=None):
    """JPEG Lossless (SOF3, predictor 1) with one flat Huffman table: ITU T.81, annex H."""
    values = pixels.astype(int)
    predicted = np.empty_like(values)
    predicted[:, 1:] = values[:, :-1]
    predicted[1:, 0] = values[:-1, 0]
    predicted[0, 0] = 1 << (precision - 1)
    bits = []
    for difference in (values - predicted).ravel().tolist():
        size = abs(difference).bit_length()
        code = difference if difference > 0 else difference + (1 << size) - 1
        bits.append(f"{size:05b}" + (f"{code:0{size}b}" if size else ""))
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    data = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")
    height, width = pixels.shape
    frame = b"\xff\xc3" + word(11) + bytes([precision]) + word(rows or height) + word(width) + b"\1\1\x11\0"
    table = b"\xff\xc4" + word(36) + b"\0" + bytes([0, 0, 0, 0, 17] + [0] * 11) + bytes(range(17))
    return b"\xff\xd8" + frame + table + b"\xff\xda" + word(8) + b"\1\1\0\1\0\0" + data + b"\xff\xd9"


def deadly_jpeg(pixels):
    """JPEG Lossless whose Huffman table is called another segment: GDCM ends its process."""
    return lossless_jpeg(pixels, 8).replace(b"\xff\xc4\0\x24", b"\xff\1\0\x24", 1)


def jpeg(pixels, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", **{"quality": 95, **options})
    return stream.getvalue()


def jpeg_ls(pixels, precision, *, error=0):
    from jpeg_ls import encode_buffer

    samples = 1 if pixels.ndim == 2 else 3
    return bytes(
        encode_buffer(
            pixels.tobytes(), *pixels.shape[:2], samples, precision, lossy_error=error, interleave_mode=2
        )
    )


def jpeg2000(pixels, precision, **options):
    from openjpeg.utils import encode_array

    return bytes(encode_array(pixels, bits_stored=precision, **options))


def wrapped(stream, syntax, shape, *, allocated=8, stored=None, samples=1, signed=0, **elements):
    """A data set with a codestream, or several fragments of it, and a header that knows nothing of it."""
    cells = np.zeros((4, 4) if samples == 1 else (4, 4, samples), f"u{allocated // 8}")
    photometric = elements.pop("photometric", "MONOCHROME2" if samples == 1 else "RGB")
    ds = make_ds(cells, bits_stored=stored, photometric=photometric)
    (ds.Rows, ds.Columns), ds.SamplesPerPixel, ds.PixelRepresentation = shape, samples, signed
    ds.file_meta.TransferSyntaxUID = syntax
    fragments = [stream] if isinstance(stream, bytes) else stream
    ds.PixelData = encapsulate(fragments, has_bot=len(fragments) == 1)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


SYNTAXES = {
    "jpeg": JPEGBaseline8Bit,
    "lossless": JPEGLosslessSV1,
    "jpeg-ls": JPEGLSLossless,
    "j2k": JPEG2000Lossless,
}


def signed(pixels, precision):
    return (pixels.astype(np.int32) - (1 << (precision - 1))).astype(np.int8 if precision <= 8 else np.int16)


def every_stream(shade):
    """Conformant streams of `shade` [H, W] in [0, 1]: name, format, stream, samples and bits."""

    def grey(bits, turned=False):
        pixels = np.rint(shade * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)
        return np.ascontiguousarray(pixels.T) if turned else pixels

    colour = np.repeat(grey(8)[..., None], 3, 2)
    for bits in (7, 8, 12, 16):
        yield f"lossless {bits}", "lossless", lossless_jpeg(grey(bits), bits), 1, bits
    for bits in (6, 8, 12, 16):
        yield f"jpeg-ls {bits}", "jpeg-ls", jpeg_ls(grey(bits), bits), 1, bits
    for bits in (7, 8, 10, 12, 16):
        yield f"j2k {bits}", "j2k", jpeg2000(grey(bits), bits), 1, bits
    yield "jpeg", "jpeg", jpeg(grey(8)), 1, 8
    yield "jpeg progressive", "jpeg", jpeg(grey(8), progressive=True), 1, 8
    yield "jpeg restarts", "jpeg", jpeg(grey(8), restart_marker_blocks=4), 1, 8
    yield "jpeg colour", "jpeg", jpeg(colour), 3, 8
    yield "jpeg-ls near", "jpeg-ls", jpeg_ls(grey(12), 12, error=2), 1, 12
    yield "jpeg-ls colour", "jpeg-ls", jpeg_ls(colour, 8), 3, 8
    yield "j2k lossy", "j2k", jpeg2000(grey(12), 12, compression_ratios=[8]), 1, 12
    yield "j2k in jp2", "j2k", jpeg2000(grey(12), 12, codec_format=1), 1, 12
    yield "j2k colour", "j2k", jpeg2000(colour, 8, photometric_interpretation=1, use_mct=True), 3, 8
    for bits in (8, 12):
        yield f"j2k signed {bits}", "j2k", jpeg2000(signed(grey(bits), bits), bits), 1, bits
    yield "j2k turned", "j2k", jpeg2000(grey(12, turned=True), 12), 1, 12
    yield "jpeg turned", "jpeg", jpeg(grey(8, turned=True)), 1, 8
