"""Deflated DICOM files: a few kilobytes may unfold into gigabytes, and pydicom unfolds them whole."""

import zlib
from pathlib import Path

from pydicom.filereader import read_file_meta_info

from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.dicom.acceptance import MAX_PIXELS
from covid_monai.dicom.elements import get_text

MAX_INFLATED_BYTES = 4 * MAX_PIXELS  # the largest picture of 16 bits, or of 3 x 8, and as much again
_DEFLATED = "1.2.840.10008.1.2.1.99"
_META_START = 144  # preamble, "DICM", and the element that tells the length of the rest (PS3.10 table 7.1-1)
_CHUNK, _STEP = 1 << 16, 1 << 20


def check_inflated_size(path: Path) -> None:
    """Refuse a file in Deflated Explicit VR Little Endian that is too large unfolded; nothing of it is kept.

    Args:
        path: A DICOM file with preamble.

    Raises:
        RefusedImage: TOO_LARGE.
        UnreadableImage: If its compressed part is damaged, or does not begin where the header says.

    Reference: DICOM PS3.5 A.5.
    """
    meta = read_file_meta_info(path)
    if get_text(meta, "TransferSyntaxUID") != _DEFLATED:
        return
    with path.open("rb") as file:
        file.seek(_META_START + int(meta.FileMetaInformationGroupLength))
        decompressor, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        try:
            while pending := decompressor.unconsumed_tail or file.read(_CHUNK):
                size += len(decompressor.decompress(pending, _STEP))
                if size > MAX_INFLATED_BYTES:
                    limit = f"{MAX_INFLATED_BYTES >> 20} MiB"
                    raise RefusedImage(RefusalReason.TOO_LARGE, f"Unfolds to more than {limit}.")
        except zlib.error as error:
            raise UnreadableImage("its deflated part is damaged") from error
