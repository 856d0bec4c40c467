"""One dataset cleaned by the rules, with its nested sequences, in any encoding."""

import io
from contextlib import nullcontext

import pydicom
import pytest
from deidentify_helpers import (
    IDENTITY,
    command,
    copies,
    deidentified,
    image,
    key_file,
    traces,
)
from dicom_helpers import save
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from covid_monai.deidentify.cleaner import clean_dataset
from covid_monai.deidentify.replacements import Pseudonyms, shift_date
from covid_monai.deidentify.rules import Rules
from covid_monai.deidentify.run_manifest import Refused

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, about values that are strange on purpose


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


PSEUDONYMS = Pseudonyms(bytes(32))


def cleaned(ds):
    counts, _ = clean_dataset(ds, Rules(), PSEUDONYMS)
    return ds, counts


def test_counts_tell_what_was_done():
    ds = image()
    for tag in list(ds.keys()):
        del ds[tag]
    ds.PatientID, ds.StudyDate, ds.Modality = "HOSP-4711", "20200301", "CR"
    ds.OtherPatientIDs = "HOSP-4712"
    ds.private_block(0x0011, "ZQ", create=True).add_new(1, "LO", "x")
    ds, counts = cleaned(ds)
    assert counts["private"] == 2  # the element and its creator
    assert counts["removed"] == 1
    assert counts["changed"] == 2
    assert ds.Modality == "CR"
    assert ds.PatientID == ds.PatientName == PSEUDONYMS.patient("HOSP-4711")
    assert ds.StudyDate == shift_date("20200301", PSEUDONYMS.shift_days("HOSP-4711"))


@pytest.mark.parametrize(("depth", "refused"), [(30, False), (33, True), (200, True)])
def test_sequences_that_are_nested_too_deep_are_refused(depth, refused):
    ds = inner = image()
    for _ in range(depth):
        item = Dataset()
        inner.ViewCodeSequence = Sequence([item])
        inner = item
    with pytest.raises(Refused) if refused else nullcontext() as caught:
        cleaned(ds)
    assert not refused or caught.value.reason == "nesting"


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "kept"),
    [
        ("KVP", "DS", b"120.5 ", True),
        ("KVP", "DS", b"Doe ", False),
        ("Rows", "LO", b"Doe ", False),
        ("Rows", "UN", b"\x60\0", True),
        ("Rows", "UN", b"Doe^Jane", False),
        ("Rows", "US", b"\x60\0", True),
    ],
)
def test_text_in_the_place_of_a_number_is_removed(keyword, vr, value, kept):
    ds = image()
    tag = Tag(keyword)
    ds[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    ds, _ = cleaned(ds)
    assert (keyword in ds) is kept


def test_no_word_is_left_of_bytes_that_are_no_sequence():
    ds = image()
    ds[Tag("ViewCodeSequence")] = RawDataElement(
        Tag("ViewCodeSequence"), "UN", 8, b"Doe^Jane", 0, False, True
    )
    ds, _ = cleaned(ds)
    content = io.BytesIO()
    ds.save_as(content, enforce_file_format=True)
    assert not traces(content.getvalue(), "Doe")
    assert not traces(content.getvalue(), "Jane")
    assert b"CR" in content.getvalue()


@pytest.mark.parametrize(
    ("elements", "listed"),
    [
        ({"Manufacturer": "Maker of Ludwik"}, True),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "ZAMENHOF"]}, True),
        ({"SoftwareVersions": ["1.0", "hosp-4711"]}, True),
        ({"SeriesNumber": "19591215"}, True),  # the birth date
        ({"PatientOrientation": ["L", "AC-0815"]}, False),  # no code string: removed
        ({"Manufacturer": "Ludwiksburg"}, False),  # another word
        ({"ViewPosition": "LEE", "PatientName": "Lee^Ann"}, False),  # too short
        ({"PatientName": "", "PatientID": "", "PatientBirthDate": "", "AccessionNumber": ""}, False),
    ],
)
def test_a_text_that_stays_and_repeats_an_identity_of_the_header_is_listed(elements, listed):
    ds = image(**elements)
    assert clean_dataset(ds, Rules(), Pseudonyms(bytes(32)))[1] == ({"identity_in_text"} if listed else set())


def test_a_name_in_a_nested_code_or_in_other_letters_is_listed_too(tmp_path):
    ds = image(PatientName="Yamada^Tarou=山田^太郎部長=やまだ^たろう", SpecificCharacterSet="ISO_IR 192")
    ds.ViewCodeSequence = Sequence([Dataset()])
    ds.ViewCodeSequence[0].CodeMeaning = "胸部 山田"
    read = pydicom.dcmread(save(ds, tmp_path / "a.dcm"))
    assert clean_dataset(read, Rules(), Pseudonyms(bytes(32)))[1] == {"identity_in_text"}
