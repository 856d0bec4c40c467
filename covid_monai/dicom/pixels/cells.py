"""The stored bits in the cells of uncompressed pixel data (PS3.5 8.1.1), also where the header disagrees."""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.dicom.elements import get_number
from covid_monai.dicom.grayscale import all_stored_values, find_padding

_STRAY = 0.01  # share of cells with bits above the stored ones, up to which these are masked, as in DCMTK

Codes = NDArray[np.unsignedinteger]


def cut_out_stored_bits(cells: Codes, ds: Dataset) -> tuple[Codes, int]:
    """Return the stored bits of each cell, right-aligned, and their number.

    High Bit does not count if the samples are right-aligned all the same. Where Pixel Padding Value needs
    more bits than are stored, the codes have all bits of the cell, so that padding is not taken for a grey.

    Raises:
        UnreadableImage: If High Bit does not fit, or many values go on above the stored bits and no overlay
            explains it.
    """
    allocated, stored = int(ds.BitsAllocated), int(ds.BitsStored)
    cells, mask = _right_align(cells, ds), 2**stored - 1
    codes = cells & np.asarray(mask, cells.dtype)
    narrow = codes.astype(np.uint16) if codes.itemsize > 2 else codes
    if cells.max() <= mask:
        return narrow, stored
    signed, padding = get_number(ds, "PixelRepresentation") == 1, np.zeros(cells.shape, bool)
    if allocated <= 16:
        padding = find_padding(all_stored_values(allocated, signed=signed), ds)[cells]
    extended = codes.copy()  # to all bits of the cell
    if signed:
        extended[codes > mask >> 1] |= np.asarray(2**allocated - 1 - mask, cells.dtype)
    above = cells & np.asarray(~(_overlay_bits(ds) | mask) & (2**allocated - 1), cells.dtype)
    stray = ~padding & (cells != extended) & (above > 0)
    if stray.mean() > _STRAY and np.ptp(above[~padding]):
        used = int(cells[~padding].max()).bit_length()
        raise UnreadableImage(f"Its samples use {used} bits, its header says {stored}. Export it again.")
    if (padding & (cells != extended)).any():
        return np.where(padding, cells, extended), allocated
    return narrow, stored


def _right_align(cells: Codes, ds: Dataset) -> Codes:
    allocated, stored, high_bit = int(ds.BitsAllocated), int(ds.BitsStored), int(ds.HighBit)
    shift = high_bit + 1 - stored
    if not 0 <= shift <= allocated - stored:
        bits = f"{stored} of {allocated} bits"
        raise UnreadableImage(f"High Bit {high_bit} cannot hold {bits}. Export it again.")
    low = cells & np.asarray(2**shift - 1, cells.dtype)
    if not shift or (cells.max() < 2**stored and np.ptp(low)):  # the low bits are part of the values
        return cells
    return np.right_shift(cells, shift, dtype=cells.dtype)


def _overlay_bits(ds: Dataset) -> int:
    """Return the bits of a cell that hold overlays (PS3.3 C.9.2, retired)."""
    found = (ds.get((group, 0x0102)) for group in range(0x6000, 0x6020, 2))
    positions = {element.value for element in found if element is not None}
    return sum(1 << value for value in positions if isinstance(value, int) and 0 < value < 16)
