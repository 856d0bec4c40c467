"""Time from a DICOM file of 2048 x 2048 pixels, 12 bits, to the network's tensor, by transfer syntax.

    python benchmarks/dicom_to_tensor.py

The peers are MONAI's `LoadImaged` with `PydicomReader`, `Resized` and its percentile scaling; and
torchxrayvision's `read_xray_dcm` with its resizer (`pip install --no-deps torchxrayvision`). HTJ2K is written
by `ojph_compress` (Debian: openjph-tools). Both are left out where they are missing. Everything runs on one
thread, except OpenJPEG, which uses all processors. The readers take turns, and the median counts. The script
ends with an error if a tensor differs, in the mean, by more than two grey levels from that of the image
decoded whole or from MONAI's.
"""

import importlib.util
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import gdcm
import numpy as np
import pydicom
import skimage.transform
import torch
from common import alternate, table
from monai.data import PydicomReader
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    NormalizeIntensityd,
    Resized,
    ScaleIntensityRangePercentilesd,
)
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless, RLELossless
from reading import ToTensor, as_way, finish, grey_levels, options, our_ways, radiograph

from covid_monai.phantoms.file_formats import PhantomPatient, radiograph_dataset

Writer = Callable[[Path, Path], None]
MISSING = "not installed"


def with_pydicom(syntax: str) -> Writer:
    """Return a writer that uses one of pydicom's own encoders."""

    def write(raw: Path, path: Path) -> None:
        ds = pydicom.dcmread(raw)
        ds.compress(syntax)
        ds.save_as(path)

    return write


def with_gdcm(syntax: int) -> Writer:
    """Return a writer that uses GDCM, which has the encoders that pydicom lacks."""

    def write(raw: Path, path: Path) -> None:
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(raw))
        reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(reader.GetImage())
        change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(path))
        writer.Write()

    return write


def write_htj2k(raw: Path, path: Path) -> None:
    """Write an HTJ2K file with OpenJPH."""
    ds = pydicom.dcmread(raw)
    picture, stream = path.with_suffix(".pgm"), path.with_suffix(".j2c")
    picture.write_bytes(b"P5 %d %d 4095\n" % (ds.Columns, ds.Rows) + ds.pixel_array.astype(">u2").tobytes())
    command = ["ojph_compress", "-i", picture, "-o", stream, "-reversible", "true"]
    subprocess.run(command, check=True, capture_output=True)
    ds.PixelData = encapsulate([stream.read_bytes()])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = HTJ2KLossless
    ds.save_as(path)


SYNTAXES: dict[str, Writer] = {
    "raw": lambda raw, path: path.write_bytes(raw.read_bytes()) and None,
    "RLE": with_pydicom(RLELossless),
    "JPEG lossless": with_gdcm(gdcm.TransferSyntax.JPEGLosslessProcess14_1),
    "JPEG-LS": with_gdcm(gdcm.TransferSyntax.JPEGLSLossless),
    "JPEG 2000": with_pydicom(JPEG2000Lossless),
    "HTJ2K": write_htj2k,
}


def write_files(folder: Path) -> dict[str, Path | None]:
    """Write one image in each transfer syntax; the path is None where the encoder is missing."""
    raw = folder / "image.dcm"
    patient = PhantomPatient("PHANTOM-0004", "M", 60, 4)
    radiograph_dataset(radiograph(), patient, number=1, view="PA").save_as(raw)
    stored = pydicom.dcmread(raw).pixel_array
    files: dict[str, Path | None] = {}
    for number, (name, write) in enumerate(SYNTAXES.items()):
        if write is write_htj2k and shutil.which("ojph_compress") is None:
            files[name] = None
            continue
        path = folder / f"{number}.dcm"
        write(raw, path)
        np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array, stored)
        files[name] = path
    return files


def monai_way(size: int) -> ToTensor:
    """Return the transforms that a MONAI user writes."""
    return as_way(
        Compose(
            [
                LoadImaged("image", reader=PydicomReader(swap_ij=False)),
                EnsureChannelFirstd("image"),
                Resized("image", (size, size), mode="area"),
                ScaleIntensityRangePercentilesd("image", 1, 99, 0, 1, clip=True),
                NormalizeIntensityd("image", 0.449, 0.226),
            ]
        )
    )


def torchxrayvision_way(size: int) -> ToTensor | None:
    """Return torchxrayvision's reader with the resize of its `XRayResizer`; None if it is not installed."""
    utils = _torchxrayvision_utils()
    if utils is None:
        return None

    def read(path: Path) -> torch.Tensor:
        pixels = utils.read_xray_dcm(path)[None]
        shape = (1, size, size)
        resized = skimage.transform.resize(pixels, shape, mode="constant", preserve_range=True)
        return torch.from_numpy(resized.astype(np.float32))

    return read


def _torchxrayvision_utils() -> ModuleType | None:
    """Import only its module with the reader: the package needs torchvision, the reader does not."""
    package = importlib.util.find_spec("torchxrayvision")
    if package is None or package.origin is None:
        return None
    spec = importlib.util.spec_from_file_location("xray_utils", Path(package.origin).parent / "utils.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(path: Path, ways: dict[str, ToTensor], repeats: int) -> dict[str, Any]:
    """Return one row of the table."""
    tensors = {way: read(path) for way, read in ways.items()}
    taken = alternate({way: lambda r=read: r(path) for way, read in ways.items()}, repeats, warm=True)
    peers = [way for way in ways if way not in ("ours", "whole")]
    return {
        "MB": round(path.stat().st_size / 1e6, 1),
        **{way: seconds * 1e3 for way, seconds in taken.items()},
        **{f"ratio to {way}": taken[way] / taken["ours"] for way in peers},
        "off whole": grey_levels(tensors["ours"], tensors["whole"]),
        "off MONAI": grey_levels(tensors["ours"], tensors["MONAI"]),
    }


def main() -> None:
    """Measure each transfer syntax and print one table."""
    chosen = options(__doc__, "dicom_to_tensor.json")
    warnings.simplefilter("ignore")
    ours, whole = our_ways(chosen.size)
    ways = {"ours": ours, "whole": whole, "MONAI": monai_way(chosen.size)}
    theirs = torchxrayvision_way(chosen.size)
    if theirs is None:
        print(f"torchxrayvision: {MISSING} (pip install --no-deps torchxrayvision)")
    else:
        ways["xrv"] = theirs
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in write_files(Path(folder)).items():
            if path is None:
                print(f"{name}: ojph_compress is {MISSING} (apt-get install openjph-tools)")
            else:
                rows.append({"transfer syntax": name, **measure(path, ways, chosen.repeats)})
    for name in ("MONAI", "xrv") if theirs else ("MONAI",):
        ratio = sum(row[name] for row in rows) / sum(row["ours"] for row in rows)
        print(f"All of these files together: {ratio:.1f} times as fast as {name}")
    title = (
        f"DICOM 2048 x 2048, 12 bits, to {chosen.size} x {chosen.size}: ms on one thread; grey levels of 255"
    )
    table(rows, title)
    finish(rows, chosen, ("off whole", "off MONAI"))


if __name__ == "__main__":
    main()
