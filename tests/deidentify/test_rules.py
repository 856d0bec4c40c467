"""Nothing that the standard's table names is left, at any depth and in any encoding."""

import subprocess
from shutil import which

import gdcm
import pydicom
import pytest
from deidentify_helpers import (
    command,
    copies,
    deidentified,
    image,
    key_file,
    traces,
)
from pydicom.sr.codedict import codes
from pydicom.tag import Tag

from covid_monai.deidentify.rules import BASIC, MODIFIED_DATES, RETAIN_CODES, Action, Retain, Rules
from covid_monai.phantoms.dataset import write_phantoms

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, about values that are strange on purpose


def test_an_option_keeps_what_it_names_and_nothing_more(tmp_path, planted_image):
    ds, planted = planted_image
    content, copy = deidentified(ds, tmp_path, "--retain", "patient-characteristics")
    kept = {"EthnicGroup", "PatientAge", "PatientSex", "PatientSexNeutered", "SmokingStatus"}
    kept |= {"PregnancyStatus", "PatientSize", "PatientWeight"}
    left = {pydicom.datadict.keyword_for_tag(tag) for tag, text in planted if traces(content, text)}
    assert left <= kept
    assert left >= {"EthnicGroup", "PatientAge", "SmokingStatus"}
    assert [item.CodeValue for item in copy.DeidentificationMethodCodeSequence] == [
        "113100",
        "113107",
        "113108",
    ]


def test_device_identity_stays_in_elements_of_every_kind(tmp_path):
    ds = image()
    kept = {"LensMake": "a\\b\r\n", "DeviceUID": "1.2.3", "XRayDetectorLabel": "left", "XRayDetectorID": "x"}
    for keyword, value in kept.items():
        setattr(ds, keyword, value)
    _, copy = deidentified(ds, tmp_path, "--retain", "device")
    assert {keyword: copy.get(keyword) for keyword in kept} == kept


def test_rules_cover_the_first_edition_of_the_profile_as_gdcm_has_it():
    rules = Rules()
    # What GDCM blanks, of 2008; two lists made by others than us.
    listed = gdcm.Anonymizer.GetBasicApplicationLevelConfidentialityProfileAttributes()
    tags = [Tag(each.GetGroup(), each.GetElement()) for each in listed]
    assert len(tags) > 40
    assert [str(tag) for tag in tags if rules.action(tag) is Action.KEEP] == []


@pytest.mark.parametrize("option", [None, *Retain])
def test_method_codes_are_those_of_cid_7050(option):
    group = codes.cid7050
    named = {getattr(group, name).value: getattr(group, name).meaning for name in group.dir()}
    code = RETAIN_CODES[option] if option else BASIC
    assert named[code.value] == code.meaning
    assert named[MODIFIED_DATES.value] == MODIFIED_DATES.meaning


@pytest.mark.skipif(
    which("dciodvfy") is None or which("dcmdump") is None, reason="needs dicom3tools and dcmtk"
)
@pytest.mark.slow
def test_dciodvfy_finds_no_new_error_and_dcmdump_reads_every_copy(tmp_path, real_data):
    write_phantoms(tmp_path / "phantoms", patients=9, size=64, image_format="dicom", ct=False)
    inputs = {p.read_bytes(): p for p in [*real_data.glob("dicom/*.dcm"), *real_data.glob("ct/*.dcm"),
              *tmp_path.glob("phantoms/**/*.dcm")]}  # fmt: skip
    compared = 0
    for number, source in enumerate(inputs.values()):
        out = tmp_path / str(number)
        if command("--key-file", key_file(tmp_path), source, out).exit_code:
            continue
        [path] = copies(out)
        new = _errors(path) - _errors(source)
        assert not new, (source.name, new)
        assert subprocess.run(["dcmdump", "-q", path], capture_output=True, timeout=60).returncode == 0
        compared += 1
    assert compared >= 12


def _errors(path):
    found = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace", timeout=60)
    return {line for line in found.stderr.splitlines() if line.startswith("Error")}
