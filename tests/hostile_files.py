"""Files that are made to harm: deflate bombs, huge headers, deeply nested sequences."""

import zlib

from dicom_helpers import make_ds, picture, save
from pydicom import dcmread, dcmwrite
from pydicom.uid import DeflatedExplicitVRLittleEndian

from covid_monai.dicom.file import MAX_INFLATED_BYTES


def deflated(path, *, pixels=b"", cut=None):
    """An image in Deflated Explicit VR Little Endian; `pixels` replaces its picture."""
    ds = make_ds(picture())
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    if pixels:
        ds.PixelData = pixels
    dcmwrite(path, ds, enforce_file_format=True)
    if cut:
        path.write_bytes(path.read_bytes()[:-cut])
    return path


def deflate_bomb(path):
    """An image of 60 kB that inflates to more than the limit; it is written without holding it in memory."""
    deflated(path, pixels=bytes(1000))
    content = path.read_bytes()
    start = 144 + int(dcmread(path).file_meta.FileMetaInformationGroupLength)
    whole = zlib.decompress(content[start:], -15)
    head = whole[: whole.index(b"\xe0\x7f\x10\x00OW") + 8]
    packer = zlib.compressobj(9, wbits=-15)
    packed = [packer.compress(head + (MAX_INFLATED_BYTES + (1 << 24)).to_bytes(4, "little"))]
    packed += [packer.compress(bytes(1 << 24)) for _ in range(MAX_INFLATED_BYTES // (1 << 24) + 2)]
    path.write_bytes(content[:start] + b"".join(packed) + packer.flush())
    assert path.stat().st_size < 1_000_000
    return path


def nested(path, depth=300):
    """Sequences of undefined length, deeply nested; made from bytes, as pydicom cannot write so many."""
    content = save(make_ds(picture()), path).read_bytes()
    opened = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    pixels = content.index(b"\xe0\x7f\x10\x00OW")
    path.write_bytes(content[:pixels] + opened * depth + closed * depth + content[pixels:])
    return path


def huge_header(path):
    ds = make_ds(picture())
    ds.Rows = ds.Columns = 65535
    return save(ds, path)


def truncated(path):
    save(make_ds(picture()), path)
    path.write_bytes(path.read_bytes()[:-5000])
    return path


def plant_modules(folder):
    """Put modules with the names of others into a folder; whoever imports one ends."""
    for name in ("json", "numpy", "random", "pip"):
        (folder / f"{name}.py").write_text("raise SystemExit('a module beside the images was run')\n")
