"""Names planted in every place that an input has, and the search for them in whatever a command writes."""

import base64
import binascii
import gzip
import io
import re
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.dataset import Dataset

from covid_monai.phantoms.file_formats import PhantomPatient, radiograph_dataset
from covid_monai.phantoms.radiograph import draw_radiograph

ROOT = Path(__file__).parents[1]
# The word that is planted in a place, by the kind of place as docs/privacy.md calls it.
PLANTED = {
    "QZFILE": "file names",
    "QZFOLDER": "folders",
    "QZPATIENTID": "patient IDs",
    "QZPATCOLUMN": "patient IDs",
    "QZSOURCE": "sources",
    "QZACCESSION": "accession numbers",
    "QZHOSPITAL": "hospitals",
    **dict.fromkeys(("QZNAME", "QZOTHER", "QZDOCTOR", "QZSTUDY", "19030717"), "the patient and study"),
    **dict.fromkeys(
        ("QZPRIVATE", "QZNESTED", "QZEXIF", "QZCOMMENT", "QZTEXT", "QZCOLUMN", "QZKEY"), "nowhere"
    ),
}
# In lower case, for a text in lower case: one search each takes a tenth of what a regular expression takes.
_WORDS = {word.lower().encode(): word for word in PLANTED} | {b"1903-07-17": "19030717"}
_WIDE_WORD = re.compile(rb"q\0{1,3}z\0{1,3}[a-z]")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
_STREAM = re.compile(rb"stream\r?\n(.*?)endstream", re.DOTALL)


def planted_dicom(path: Path, number: int = 0) -> Path:
    """Write a radiograph whose header names a patient in every way."""
    patient = PhantomPatient(patient_id="P", sex="F", age=50, seed=number)
    image = draw_radiograph(("normal", "pneumonia", "covid")[number % 3], seed=number, size=128)
    ds = radiograph_dataset(image, patient, number=1, view="PA", inverted=number % 2 == 1)
    ds.PatientName, ds.PatientID = "QZNAME^QZNAME", f"QZPATIENTID{number}"
    ds.PatientBirthDate, ds.AccessionNumber = "19030717", f"QZACCESSION{number}"
    ds.OtherPatientNames, ds.PatientComments = "QZOTHER^B", "QZOTHER was here"
    ds.ReferringPhysicianName, ds.InstitutionName = "QZDOCTOR^C", "QZHOSPITAL"
    ds.StudyDescription, ds.StudyID = "chest of QZSTUDY", "QZSTUDY"
    ds.private_block(0x0011, "QZPRIVATE MAKER", create=True).add_new(1, "LO", "QZPRIVATE")
    nested = Dataset()
    nested.PatientName, nested.ContentSequence = "QZNESTED^D", [Dataset()]
    nested.ContentSequence[0].TextValue = "QZNESTED"
    ds.RequestAttributesSequence = [nested]
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path)
    return path


def planted_raster(path: Path, number: int = 0) -> Path:
    """Write a JPEG or PNG with EXIF, comment and text chunks."""
    image = draw_radiograph(("normal", "pneumonia", "covid")[number % 3], seed=50 + number, size=128)
    picture = Image.fromarray((image * 255).astype(np.uint8))
    exif = Image.Exif()
    exif[0x010E], exif[0x013B], exif[0x9C9D] = "QZEXIF", "QZEXIF", "QZEXIF".encode("utf-16le")
    text = PngInfo()
    text.add_text("Patient", "QZTEXT")
    text.add_itxt("Author", "QZTEXT", zip=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        picture.save(path, pnginfo=text, exif=exif)
    else:
        picture.save(path, exif=exif, comment=b"QZCOMMENT")
    return path


def planted_words(content: bytes, *, depth: int = 4) -> set[str]:
    """Return the planted words in a file, also in what it packs, encodes or compresses."""
    lower = content.lower()
    found = {word for text, word in _WORDS.items() if text in lower}
    if _WIDE_WORD.search(lower):  # UTF-16 and UTF-32
        found |= planted_words(content.replace(b"\0", b""), depth=0)
    if depth:
        for inner in _unpacked(content):
            found |= planted_words(inner, depth=depth - 1)
    return found


def _unpacked(content: bytes) -> Iterator[bytes]:
    if content.startswith(b"PK") and zipfile.is_zipfile(io.BytesIO(content)):  # also .npz and PyTorch's files
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                yield from (entry.filename.encode(), archive.read(entry))
        return
    if content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content)
    if content.startswith(b"\x89PNG"):
        yield from _png_texts(content)
    if (start := content.find(b"%PDF-")) >= 0:  # also within DICOM
        yield from _pdf_parts(content[start:])
    if b"\0" not in content[:1000]:  # a text
        for match in _BASE64.findall(content):
            with suppress(binascii.Error):
                yield base64.urlsafe_b64decode(match.translate(bytes.maketrans(b"+/", b"-_")) + b"==")


def _png_texts(content: bytes) -> Iterator[bytes]:
    place = 8
    while place + 8 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        chunk = content[place + 8 : place + 8 + length]
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            for start in range(min(len(chunk), 200)):
                with suppress(zlib.error):
                    yield zlib.decompress(chunk[start:])
        place += 12 + length


def _pdf_parts(content: bytes) -> Iterator[bytes]:
    for stream in _STREAM.findall(content):
        with suppress(zlib.error):
            yield zlib.decompressobj().decompress(stream)
    # Letters of an embedded font have numbers of their own, which pdftotext turns back.
    yield subprocess.run(["pdftotext", "-", "-"], input=content, capture_output=True, check=False).stdout


class Row:
    """A row of the table in docs/privacy.md."""

    def __init__(self, cells: list[str]) -> None:
        commands, file, self.kinds, mode = cells
        self.commands = [name.strip() for name in commands.split(",")]
        self.pattern = (re.findall(r"`([^`]+)`", file) or [f"{file}*"])[0]
        self.mode = None if mode == "any" else int(mode, 8)

    def is_of(self, command: str, path: str) -> bool:
        return command in self.commands and (
            fnmatch(path, self.pattern) or fnmatch(path, f"*/{self.pattern}")
        )


def rows_of_the_page() -> list[Row]:
    """Return the rows of the table in docs/privacy.md."""
    page = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
    table = page.split("<!-- tests/planted_identity.py reads this table -->")[1].split("\n\n")[1]
    rows = [Row([cell.strip() for cell in line.strip("| ").split("|")]) for line in table.splitlines()[2:]]
    assert len(rows) > 20
    return rows


def mistakes(command: str, folder: Path) -> list[str]:
    """Return what differs from the page in everything that a command has written into a folder."""
    found, rows = [], rows_of_the_page()
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        name = path.relative_to(folder).as_posix()
        words = planted_words(path.read_bytes())
        logged = name.startswith("mlruns")
        listed = [] if logged else [row for row in rows if row.is_of(command, name)]
        allowed = [kind for word, kind in PLANTED.items() if any(kind in row.kinds for row in listed)]
        surplus = sorted(word for word in words if PLANTED.get(word, "nowhere") not in allowed)
        if surplus:
            found.append(f"{command}: {name} holds {', '.join(surplus)}")
        for row in listed:
            if row.mode and (path.stat().st_mode & 0o777) != row.mode:
                found.append(f"{command}: {name} has mode {path.stat().st_mode & 0o777:o}")
            if row.mode and path.parent.stat().st_mode & 0o077:
                found.append(
                    f"{command}: the folder of {name} has mode {path.parent.stat().st_mode & 0o777:o}"
                )
    return found
