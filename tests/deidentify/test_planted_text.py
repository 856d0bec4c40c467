"""A name in every place of a file where bytes can hide: it goes, or a person is told to look."""

import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from planted_text import GREY, NOT_CUT, STREAMS, TEXTS, planted_elements, planted_frames, with_frames
from pydicom.uid import (
    MPEG4HP41,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from covid_monai.deidentify.copies import deidentify_files
from covid_monai.deidentify.replacements import Pseudonyms
from covid_monai.deidentify.rules import Rules
from covid_monai.dicom.pixels.decode import decode_frame

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, about values that are strange on purpose


def outcomes(folder, planted):
    """Name, content of the copy (None if it was refused) and review reasons of each planted file."""
    (folder / "in").mkdir(parents=True)
    names = {}
    for number, (name, code, ds) in enumerate(planted):
        path = folder / "in" / f"{number:04d}"
        pydicom.dcmwrite(path, ds, enforce_file_format=True)
        names[path] = (name, code, ds.SOPInstanceUID)
    pseudonyms = Pseudonyms(bytes(32))
    manifest = deidentify_files(
        list(names), folder / "out", pseudonyms=pseudonyms, rules=Rules(), allow_burned_in=True
    )
    copies = {Path(copy["path"]).stem: copy for copy in manifest["copies"]}
    for name, code, uid in names.values():
        copy = copies.get(pseudonyms.uid(uid))
        yield name, code, copy and folder / "out" / copy["path"], tuple(copy["review"]) if copy else ()


def traces(path, code):
    """Pieces of the planted text that stand in a file, also when it is inflated."""
    content = path.read_bytes()
    ds = pydicom.dcmread(path)
    if ds.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        content += zlib.decompress(content[144 + ds.file_meta.FileMetaInformationGroupLength :], -15)
    text = TEXTS[code]
    return [piece for piece in (text[:6], text[8:14], text[-8:-2]) if piece in content]


def check(found):
    """Check that nothing is left unflagged, and that what can be cut is cut; returns the unflagged copies."""
    found = list(found)
    left = {(name, code) for name, code, path, review in found if path and not review and traces(path, code)}
    assert not left
    assert {name.split(": ")[-1] for name, _, path, review in found if review or not path} <= NOT_CUT
    return [(name, path) for name, _, path, review in found if path and not review]


def _slow(*values):
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        *_slow(ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian),
    ],
)
def test_no_text_stays_in_an_element_unless_a_person_is_told(tmp_path, syntax):
    planted = [each for code in TEXTS for each in planted_elements(code)]
    for *_, ds in planted:
        ds.file_meta.TransferSyntaxUID = syntax
    assert len(planted) > 200
    for name, path in check(outcomes(tmp_path, planted)):
        assert pydicom.dcmread(path).PixelData == GREY.tobytes(), name


@pytest.mark.parametrize("code", ["ascii", *_slow("latin-1", "utf-16-le", "utf-16-be")])
def test_no_text_stays_beside_compressed_pixels_unless_a_person_is_told(tmp_path, code):
    expected = {"RLE": GREY}
    for kind, (syntax, make) in STREAMS.items():
        expected[kind], _ = decode_frame(with_frames([make()], syntax))
    planted = list(planted_frames(code))
    assert len(planted) > 200
    for name, path in check(outcomes(tmp_path, planted)):
        pixels, _ = decode_frame(pydicom.dcmread(path))
        np.testing.assert_array_equal(pixels, expected[name.split(": ")[0]], err_msg=name)


def test_a_video_is_for_a_person_to_look_at(tmp_path):
    video = with_frames([b"\0\0\0\1\x06" + TEXTS["ascii"]], MPEG4HP41)
    [(*_, review)] = outcomes(tmp_path, [("video", "ascii", video)])
    assert "pixels_not_cleaned" in review
