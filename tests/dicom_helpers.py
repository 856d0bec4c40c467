"""DICOM files that tests make, and how a refused one is told."""

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    generate_uid,
)

from covid_monai.core.vocabulary import RefusedImage
from covid_monai.readers import read_radiograph

DX = "1.2.840.10008.5.1.4.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def picture(rows=96, columns=128, *, top=255, dtype=np.uint8):
    """A smooth picture without symmetry, with noise."""
    y, x = np.mgrid[0:rows, 0:columns]
    shape = 0.5 + 0.3 * np.sin(x / 17) * np.cos(y / 23) + 0.2 * x / columns * (1 - y / rows)
    noise = np.random.default_rng(0).normal(0, 0.01, shape.shape)
    return (np.clip(shape + noise, 0, 1) * top).astype(dtype)


def make_ds(cells, *, sop_class=DX, photometric="MONOCHROME2", bits_stored=None, **elements):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.Modality, ds.PatientName, ds.PatientID = "DX", "Doe^Jane", "P1"
    ds.Rows, ds.Columns = cells.shape[:2]
    ds.BitsAllocated = cells.dtype.itemsize * 8
    ds.BitsStored = bits_stored or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(cells.dtype.kind == "i")
    ds.SamplesPerPixel = 1 if cells.ndim == 2 else 3
    if cells.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = photometric
    ds.add_new("PixelData", "OW", cells.tobytes())
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def lut_item(data, *, first=0, bits=8, count=None, vr="US"):
    """An item of a sequence of lookup tables, from numbers or, as OW, from bytes."""
    item = Dataset()
    count = (len(data) if count is None else count) % 65536
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [count, first, bits])
    if isinstance(data, bytes):
        item.add_new("LUTData", "OW", data)
    else:
        item.add_new("LUTData", vr, [int(v) for v in data])
    return item


def save(ds, path):
    ds.save_as(path, enforce_file_format=True)
    return path


def refusal(path):
    with pytest.raises(RefusedImage) as caught:
        read_radiograph(path)
    assert path.name in str(caught.value)
    assert "Doe" not in str(caught.value)
    return caught.value.reason


def ways_in(folder):
    """One 8-bit picture in every format; yields name and path."""
    pixels = picture()
    Image.fromarray(pixels).save(folder / "image.jpg", quality=100)
    Image.fromarray(pixels).save(folder / "image.png")
    Image.fromarray(pixels).convert("RGB").save(folder / "rgb.png")
    Image.fromarray(pixels).convert("RGB").save(folder / "rgb.jpg", quality=100, subsampling=0)
    Image.fromarray(pixels.astype(np.uint16) * 257).save(folder / "wide.png")
    save(make_ds(pixels), folder / "mono2.dcm")
    save(make_ds(255 - pixels, photometric="MONOCHROME1"), folder / "mono1.dcm")
    compressed = make_ds(pixels)
    compressed.compress(JPEG2000Lossless)
    save(compressed, folder / "j2k.dcm")
    colour = make_ds(np.repeat(pixels[..., None], 3, axis=2), sop_class=SECONDARY_CAPTURE, photometric="RGB")
    save(colour, folder / "rgb.dcm")
    wide = make_ds(pixels.astype(np.uint16) * 16, bits_stored=12, WindowCenter="2040.5", WindowWidth="4081")
    save(wide, folder / "wide.dcm")
    return pixels, sorted(folder.iterdir())


def code_item(value, meaning, scheme="SCT"):
    """An item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodeMeaning, item.CodingSchemeDesignator = value, meaning, scheme
    return item


def standard_codes(cid, scheme):
    """Codes and meanings of a context group of PS3.16, from pydicom's copy of the standard's tables.

    SRT gives the concepts of SCT by the codes that they had in SNOMED RT, where they had one.
    """
    known = "SCT" if scheme == "SRT" else scheme
    for name in cid_concepts[cid][known]:
        for value, (meaning, cids) in concepts[known][name].items():
            code = mapping["SCT"].get(value) if scheme == "SRT" else value
            if cid in cids and code:
                yield code, meaning


PREAMBLE = 132
NAMES = {
    "with preamble": "image.dcm",
    "without preamble": "bare.dcm",
    "implicit data set": "implicit.dcm",
    "explicit data set": "explicit.dcm",
    "big endian data set": "big.dcm",
    "without suffix": "IM000001",
    "odd suffix": "image.CR",
    "last number of a UID": "1.2.840.99",
    "without preamble and suffix": "IM000002",
    "deflated": "deflated.dcm",
    "deflated without preamble": "deflated.bin",
    "JPEG 2000 without preamble": "j2k.raw",
}


def write_radiographs(folder):
    """The same radiograph in every kind of file of `NAMES`; returns its data set."""
    ds = make_ds(picture())
    plain = save(ds, folder / "image.dcm").read_bytes()
    for name in ("IM000001", "image.CR", "1.2.840.99"):
        (folder / name).write_bytes(plain)
    for name in ("bare.dcm", "IM000002"):
        (folder / name).write_bytes(plain[PREAMBLE:])
    bare = Dataset()
    bare.update(ds)
    pydicom.dcmwrite(folder / "implicit.dcm", bare, implicit_vr=True, little_endian=True)
    pydicom.dcmwrite(folder / "explicit.dcm", bare, implicit_vr=False, little_endian=True)
    words = np.frombuffer(ds.PixelData, np.uint16)  # two 8-bit samples each
    bare["PixelData"] = pydicom.DataElement("PixelData", "OW", words.byteswap().tobytes())
    pydicom.dcmwrite(folder / "big.dcm", bare, implicit_vr=False, little_endian=False)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    deflated = save(ds, folder / "deflated.dcm").read_bytes()
    (folder / "deflated.bin").write_bytes(deflated[PREAMBLE:])
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    (folder / "j2k.raw").write_bytes(save(ds, folder / "j2k.raw").read_bytes()[PREAMBLE:])
    return ds
