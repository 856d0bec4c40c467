"""DICOM images full of planted identities, and the search for what is left of them."""

import os
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
from dicom_helpers import make_ds, picture, save
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.valuerep import STR_VR
from typer.testing import CliRunner

from covid_monai.cli.main import app
from covid_monai.phantoms.radiograph import draw_radiograph

CR = "1.2.840.10008.5.1.4.1.1.1"
PLAIN_TAGS = sorted(Tag(*found) for found in table.ALL_TAGS if len(found) == 2 and found[0] not in (0, 2, 4))
REFERENCES = ("ReferencedImageSequence", "SourceImageSequence")
IDENTITY = ("Zamenhof", "Ludwik", "19591215", "HOSP-4711", "AC-0815")
NAME, PATIENT_ID, BIRTH_DATE, ACCESSION = "Zamenhof^Ludwik", "HOSP-4711", "19591215", "AC-0815"

FONT = f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf"


def written_on(picture, words, *, height, at=(8, 8), tone=255):
    sheet = Image.fromarray(picture)
    ImageDraw.Draw(sheet).text(at, words, fill=tone, font=ImageFont.truetype(FONT, height))
    return np.asarray(sheet)


@cache
def images(count):
    drawn = [draw_radiograph("covid", seed=seed, size=512) for seed in range(count)]
    return [(30 + 170 * (each - each.min()) / np.ptp(each)).astype(np.uint8) for each in drawn]


def image(**elements):
    """A small CR image of a known patient."""
    ds = make_ds(picture(), sop_class=CR)
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "CR", "CHEST", "PA"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = NAME, PATIENT_ID, BIRTH_DATE
    ds.PatientSex, ds.PatientAge, ds.AccessionNumber = "F", "061Y", ACCESSION
    ds.StudyDate, ds.StudyTime, ds.ImageType = "20200301", "101500", ["ORIGINAL", "PRIMARY"]
    ds.BurnedInAnnotation = "NO"
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def marker(tag, level):
    """Text that stands nowhere else: at most 16 characters, valid in every text VR."""
    return f"ZQ{level}{int(tag):08X}"


def plant(ds, tags, *, level):
    """Give every attribute a marker that fits its VR; returns the byte strings to look for."""
    planted = []
    for number, tag in enumerate(tags):
        try:
            vr = dictionary_VR(tag)
        except KeyError:  # younger than pydicom's dictionary
            vr = "LO"
        value = _value(vr, tag, level, number)
        if value is None:
            continue
        if tag not in (Tag("SOPInstanceUID"), Tag("StudyInstanceUID"), Tag("SeriesInstanceUID")):
            ds[tag] = DataElement(tag, vr, value)
            planted.append((tag, _look_for(vr, value, tag, level)))
    return planted


def _value(vr, tag, level, number):
    day = str(np.datetime64("1971-02-03") + number).replace("-", "")  # one of its own for each
    numeric = str(710_000_000 + 1000 * number + level)
    special = {"UI": f"1.2.3.{int(tag)}.{level}.77", "DA": day, "DT": day, "AS": f"{number % 80:03d}M"}
    special |= {"DS": numeric, "IS": numeric, "OB": _bytes(tag, level), "UN": _bytes(tag, level)}
    special |= {"SQ": _sequence(tag, level), "TM": None}  # times of day stay: docs/deidentification.md
    return special.get(vr, marker(tag, level) if vr in STR_VR else None)


def _bytes(tag, level):
    return marker(tag, level).encode() + b"\0"


def _sequence(tag, level):
    item = Dataset()
    item.PatientComments = marker(tag, level)
    if tag not in map(Tag, REFERENCES):  # they are entered, not removed; the table keeps codes
        item.CodeMeaning = marker(tag, level)
    return Sequence([item])


def _look_for(vr, value, tag, level):
    if vr in ("UI", "DA", "DT", "AS", "DS", "IS"):
        return value
    return marker(tag, level)


def traces(content, text):
    """Encodings in which `text` stands in `content`."""
    return [code for code in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le") if text.encode(code) in content]


def key_file(folder, *, digit="1"):
    path = Path(folder) / f"{digit}.key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(digit * 64)
    return path


def command(*arguments):
    """Run `covid-monai data deidentify`; an exception that `main` would explain is raised."""
    result = CliRunner().invoke(app, ["data", "deidentify", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def tree(folder):
    """Content of every file by its path."""
    found = {}
    for root, _, files in os.walk(folder):
        for name in files:
            path = Path(root, name)
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def copies(folder):
    return sorted(Path(folder).rglob("*.dcm"))


def write_export(folder):
    """A hospital's export: names in the paths, no suffixes, a DICOMDIR, three images of two patients."""
    place = folder / "Zamenhof Ludwik" / "HOSP-4711"
    place.mkdir(parents=True)
    save(image(), place / "IM000001")
    save(image(StudyDate="20200311"), place / "IM000002")
    save(image(PatientID="HOSP-4712", PatientName="Curie^Maria"), place / "Curie")
    (place / "DICOMDIR").write_bytes(Path(get_testdata_file("DICOMDIR")).read_bytes())
    return folder / "Zamenhof Ludwik"


def deidentified(ds, folder, *options):
    """The bytes of the copy of one dataset, and the copy as pydicom reads it."""
    (folder / "in").mkdir()
    ds.save_as(folder / "in" / "x", enforce_file_format=True)
    result = command("--key-file", key_file(folder), *options, folder / "in", folder / "out")
    assert result.exit_code == 0, result.output
    [path] = copies(folder / "out")
    return path.read_bytes(), pydicom.dcmread(path)
