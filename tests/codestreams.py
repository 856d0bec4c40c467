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


def jpeg(pixels, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", **{"quality": 95, **options})
    return stream.getvalue()


def jpeg_ls(pixels, precision, *, error=0):
    from jpeg_ls import encode_buffer

    samples = 1 if pixels.ndim == 2 else 3
    return bytes(encode_buffer(pixels.tobytes(), *pixels.shape[:2], samples, precision, lossy_error=error))


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
