"""Lookup tables of DICOM files: Modality LUT and VOI LUT (PS3.3 C.11.1.1 and C.11.2.1.1)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from covid_monai.dicom.elements import get_encoding


@dataclass(frozen=True)
class LookupTable:
    """One item of a Modality LUT Sequence or VOI LUT Sequence.

    Args:
        entries: Output values, 1D.
        first_mapped: Input value that the first entry belongs to.
        bits: Bits of an output value: the output range is 0 to 2**bits - 1.
    """

    entries: NDArray[np.float64]
    first_mapped: int
    bits: int

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map `values` (any shape); a value outside the table takes its first or last entry."""
        index = np.rint(values).astype(np.int64) - self.first_mapped
        return self.entries[np.clip(index, 0, self.entries.size - 1)]


def read_lookup_table(item: Dataset, *, inputs: NDArray[np.float64]) -> LookupTable | None:
    """Read a LUT item.

    Args:
        item: Item with LUTDescriptor and LUTData.
        inputs: All values that can reach the table. They tell whether its first input is signed; the file's
            own value representation (US or SS) is often wrong after a rescale.

    Returns:
        The table, or None if the item holds no usable one.
    """
    descriptor, words = item.get("LUTDescriptor"), _words(item)
    if descriptor is None or len(descriptor) != 3 or words.size == 0:
        return None
    count, first_mapped, bits = int(descriptor[0]) or 2**16, int(descriptor[1]), int(descriptor[2])
    if words.size < count <= 2 * words.size:  # 8-bit entries, two to a word
        words = words.astype("<u2").view(np.uint8)
    entries = words[:count].astype(np.float64)
    needed_bits = max(int(entries.max()).bit_length(), 1)
    if not 1 <= bits <= 16 or bits < needed_bits:  # some descriptors say 8 over 16-bit data
        bits = needed_bits
    return LookupTable(entries, _as_signed_or_unsigned(first_mapped, inputs), bits)


def _words(item: Dataset) -> NDArray[np.uint16]:
    """Return LUTData as 16-bit words; pydicom gives bytes (OW), a list of numbers (US) or one number."""
    data = item.get("LUTData")
    if data is None:
        return np.zeros(0, np.uint16)
    if isinstance(data, bytes):
        _, little_endian = get_encoding(item)
        return np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little_endian else ">u2").astype(np.uint16)
    return (np.atleast_1d(np.asarray(data)).astype(np.int64) & 0xFFFF).astype(np.uint16)


def _as_signed_or_unsigned(first_mapped: int, inputs: NDArray[np.float64]) -> int:
    """Read the 16 bits of the first mapped value as signed or unsigned, whichever fits the inputs."""
    if first_mapped > 0x7FFF and first_mapped > inputs.max() and inputs.min() < 0:
        return first_mapped - 0x10000
    if first_mapped < 0 and inputs.min() >= 0 and inputs.max() > 0x7FFF:
        return first_mapped + 0x10000
    return first_mapped
