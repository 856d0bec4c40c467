"""Nothing that the standard's table names is left, at any depth and in any encoding."""

import subprocess
from shutil import which

import gdcm
import pydicom
import pytest
from deidentify_helpers import (
    IDENTITY,
    PLAIN_TAGS,
    command,
    copies,
    image,
    key_file,
    plant,
    traces,
)
from dicom_helpers import save
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from covid_monai.deidentify.rules import BASIC, MODIFIED_DATES, RETAIN_CODES, Action, Retain, Rules
from covid_monai.phantoms.dataset import write_phantoms

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, about values that are strange on purpose


def deidentified(ds, folder, *options):
    """The bytes of the copy of one dataset, and the copy as pydicom reads it."""
    (folder / "in").mkdir()
    ds.save_as(folder / "in" / "x", enforce_file_format=True)
    result = command("--key-file", key_file(folder), *options, folder / "in", folder / "out")
    assert result.exit_code == 0, result.output
    [path] = copies(folder / "out")
    return path.read_bytes(), pydicom.dcmread(path)


@pytest.fixture
def planted_image():
    """Every attribute of the table with a marker of its own, on top and in an item of a kept sequence."""
    ds = image()
    planted = plant(ds, PLAIN_TAGS, level=0)
    deep, item = Dataset(), Dataset()
    planted += plant(deep, PLAIN_TAGS, level=2)
    item.ViewModifierCodeSequence = Sequence([deep])
    ds.ViewCodeSequence = Sequence([item])
    return ds, planted


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_no_byte_of_the_copy_holds_what_stood_in_an_attribute_of_the_table(tmp_path, planted_image, syntax):
    ds, planted = planted_image
    ds.file_meta.TransferSyntaxUID = syntax
    content, copy = deidentified(ds, tmp_path)
    assert len(planted) > 1000
    left = {(str(tag), text): traces(content, text) for tag, text in planted if traces(content, text)}
    assert not left
    assert not [each for each in IDENTITY if traces(content, each)]
    assert copy.pixel_array.shape == (96, 128)
    assert b"ZQ" not in content


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


def test_what_the_table_does_not_name_goes_where_it_could_hold_anything(tmp_path):
    ds = image()
    secret = "ZQsecret"
    block = ds.private_block(0x0011, "ZQ CREATOR", create=True)
    block.add_new(1, "LO", secret)
    inner = Dataset()
    inner.private_block(0x0013, "ZQ INNER", create=True).add_new(2, "UT", secret)
    inner.CodeMeaning = secret
    block.add_new(3, "SQ", Sequence([inner]))
    ds.ViewCodeSequence = Sequence([Dataset()])
    ds.ViewCodeSequence[0].private_block(0x0011, "ZQ DEEP", create=True).add_new(1, "UN", b"ZQsecret")
    for tag, vr, value in (
        (0x60000010, "US", 96), (0x60000022, "LO", secret), (0x60003000, "OW", b"ZQsecret"),
        (0x60001500, "LO", secret), (0x60020022, "LO", secret),
        (0x50003000, "OW", b"ZQsecret"), (0x50000030, "SH", secret),
        (0x00080FFF, "LO", secret),  # in no dictionary
        (0x00080000, "UL", 0x51515A5A), (0xFFFCFFFC, "OB", b"ZQsecret"), (0x00143099, "LT", secret),
        (0x00142006, "PN", secret), (0x00081190, "UR", "http://ZQsecret"), (0x00102201, "LO", secret),
        (0x00189305, "LO", secret),  # a number by the dictionary
    ):  # fmt: skip
        ds[tag] = DataElement(tag, vr, value)
    icon = Dataset()
    icon.Rows, icon.PixelData = 1, b"ZQsecret"
    icon["PixelData"].VR = "OB"
    ds.IconImageSequence = Sequence([icon])
    ds.Rows = 96
    ds.preamble = b"ZQsecret" * 16
    ds.file_meta.SourceApplicationEntityTitle = secret
    ds.file_meta.PrivateInformationCreatorUID, ds.file_meta.PrivateInformation = "1.2.3", b"ZQsecret"
    content, copy = deidentified(ds, tmp_path)
    assert not traces(content, "ZQ")
    assert copy.preamble == bytes(128)
    assert set(copy.file_meta.keys()) == {Tag(2, each) for each in (0, 1, 2, 3, 0x10, 0x12, 0x13)}


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


def test_a_copy_says_that_and_how_it_was_made(tmp_path):
    _, copy = deidentified(image(), tmp_path)
    assert copy.PatientIdentityRemoved == "YES"
    assert copy.LongitudinalTemporalInformationModified == "MODIFIED"
    assert copy.DeidentificationMethod
    assert copy.PatientName == copy.PatientID
    assert copy.PatientSex == ""
    assert copy.PatientBirthDate == ""
    assert "PatientAge" not in copy


@pytest.mark.parametrize(
    ("charset", "name", "word"),
    [
        ("ISO_IR 144", "Люксембург^Роза", "грудная клетка"),
        ("GB18030", "王^小东", "胸部正位"),
        ("ISO_IR 192", "Zażółć^Gęślą", "胸部 грудь"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "胸部"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", "흉부"),
    ],
)
def test_names_in_every_script_go_and_kept_words_stay_readable(tmp_path, charset, name, word):
    ds = image(SpecificCharacterSet=charset, PatientName=name, OperatorsName=name, StudyDescription=name)
    ds.ViewCodeSequence = Sequence([Dataset()])
    ds.ViewCodeSequence[0].CodeMeaning = word
    content, copy = deidentified(ds, tmp_path)
    encoded = pydicom.dcmread(tmp_path / "in" / "x").get_item("PatientName").value.strip()
    assert len(encoded) > 4
    assert encoded not in content
    assert copy.ViewCodeSequence[0].CodeMeaning == word


def test_references_between_objects_stay_linked(tmp_path):
    first, second = image(), image()
    second.StudyInstanceUID = first.StudyInstanceUID
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = (
        first.SOPClassUID,
        first.SOPInstanceUID,
    )
    second.SourceImageSequence = Sequence([reference])
    first.FrameOfReferenceUID = second.FrameOfReferenceUID = "1.2.3.4"
    (tmp_path / "in").mkdir()
    for number, ds in enumerate((first, second)):
        save(ds, tmp_path / "in" / str(number))
    command("--key-file", key_file(tmp_path), tmp_path / "in", tmp_path / "out")
    read = [pydicom.dcmread(path) for path in copies(tmp_path / "out")]
    [referring] = [ds for ds in read if "SourceImageSequence" in ds]
    [other] = [ds for ds in read if "SourceImageSequence" not in ds]
    item = referring.SourceImageSequence[0]
    assert item.ReferencedSOPInstanceUID == other.SOPInstanceUID != first.SOPInstanceUID
    assert item.ReferencedSOPClassUID == first.SOPClassUID
    assert referring.StudyInstanceUID == other.StudyInstanceUID != first.StudyInstanceUID
    assert referring.FrameOfReferenceUID == other.FrameOfReferenceUID != "1.2.3.4"


def test_dates_that_patients_share_do_not_give_the_shift_away(tmp_path):
    ds = image(DateOfLastDetectorCalibration="20200101", DateOfManufacture="20150505")
    code = Dataset()
    code.CodeValue, code.ContextGroupVersion = "1", "20020904"
    ds.ViewCodeSequence = Sequence([code])
    _, copy = deidentified(ds, tmp_path)
    assert copy.DateOfLastDetectorCalibration == "19000101"
    assert "DateOfManufacture" not in copy
    assert not copy.ViewCodeSequence[0].ContextGroupVersion.startswith("200")
    assert copy.StudyDate < "20190302"
    assert copy.StudyTime == "101500"


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
