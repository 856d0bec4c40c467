"""Patient and study as the archive knows them: names in any script, illegal values, the page's text."""

import unicodedata
import warnings
from datetime import datetime, timedelta, timezone

import pydicom
import pytest
from dicom_helpers import make_ds, picture, save
from highdicom._standard_utils import get_module_attribute_map
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from results_helpers import (
    MADE,
    NEEDS_DCIODVFY,
    NEEDS_DCMTK,
    NEEDS_POPPLER,
    classified,
    complaints,
    run,
)

from covid_monai.results import ResultObjects, write_results
from covid_monai.results.dicom.study_attributes import DESCRIPTION, IDENTITY
from covid_monai.results.pdf.fonts import _system_fonts

pytestmark = pytest.mark.slow

# Names of PS3.5 annexes H to K, and of pydicom's own test files.
NAMES = {
    "latin": ("ISO_IR 100", "Buc^Jérôme"),
    "cyrillic": ("ISO_IR 144", "Шишкин^Фёдор"),
    "arabic": ("ISO_IR 127", "قباني^لنزار"),
    "greek": ("ISO_IR 126", "Διονυσιος"),
    "hebrew": ("ISO_IR 138", "שרון^דבורה"),
    "japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "half width": (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    "korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "chinese gb18030": ("GB18030", "Wang^XiaoDong=王^小东"),
    "chinese utf-8": ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
    "mixed utf-8": ("ISO_IR 192", "Жуков^王^محمد"),
}
CJK = pytest.mark.skipif(not _system_fonts(), reason="needs fonts-droid-fallback or another CJK font")


@pytest.fixture(scope="module")
def results(classifier):
    return ResultObjects(classifier, pdf=True)


def with_bytes(folder, **elements):
    """An image that holds these very bytes, whatever the standard says; the keyword's own VR."""
    ds = make_ds(picture())
    for keyword, value in elements.items():
        tag = Tag(keyword)
        ds[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
    return save(ds, folder / "image.dcm")


def raw(path, keyword):
    return pydicom.dcmread(path).get_item(keyword).value


@NEEDS_DCIODVFY
@NEEDS_DCMTK
@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_any_script_survives_byte_for_byte(classifier, tmp_path, name):
    character_set, patient = NAMES[name]
    image = save(
        make_ds(picture(), SpecificCharacterSet=character_set, PatientName=patient, PatientComments=patient),
        tmp_path / "image.dcm",
    )
    # Debian's DCMTK does not convert JIS X 0208; there it must print the same bytes.
    converted = () if "ISO 2022 IR 87" in character_set else ("+U8",)
    objects = ResultObjects(classifier).of(classified(classifier, image), MADE)
    assert complaints(objects, tmp_path) == []
    known = run("dcmdump", *converted, "+P", "0010,0010", image)
    for path in write_results(objects, tmp_path / "out"):
        ds = pydicom.dcmread(path)
        assert ds.PatientName == patient
        assert ds.PatientComments == patient
        assert raw(path, "PatientName") == raw(image, "PatientName")
        assert raw(path, "SpecificCharacterSet") is not None
        assert run("dcmdump", *converted, "+P", "0010,0010", path) == known


@NEEDS_DCIODVFY
def test_escape_sequences_of_gb_2312_survive(classifier, tmp_path):
    name = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab"  # PS3.5 K.3
    image = with_bytes(tmp_path, SpecificCharacterSet=b"\\ISO 2022 IR 58 ", PatientName=name)
    objects = ResultObjects(classifier).of(classified(classifier, image), MADE)
    assert complaints(objects, tmp_path) == []
    for path in write_results(objects, tmp_path / "out"):
        assert raw(path, "PatientName").rstrip() == name
        assert pydicom.dcmread(path).PatientName == pydicom.dcmread(image).PatientName


@NEEDS_POPPLER
@CJK
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("latin", "Buc Jérôme"),
        ("cyrillic", "Шишкин Фёдор"),
        ("chinese gb18030", "王 小东 (Wang XiaoDong)"),
        ("japanese", "山田 太郎 (Yamada Tarou)"),
        ("korean", "洪 吉洞 (Hong Gildong)"),
    ],
)
def test_the_page_shows_the_name(results, classifier, tmp_path, name, shown):
    text = page_text(results, classifier, tmp_path, *NAMES[name])
    assert shown in text
    assert "U+" not in text


@NEEDS_POPPLER
def test_the_page_shows_arabic_joined_and_from_right_to_left(results, classifier, tmp_path):
    text = page_text(results, classifier, tmp_path, *NAMES["arabic"])
    # pdftotext puts marks of direction around it, and may give the letters in their joined forms.
    letters = [letter for letter in unicodedata.normalize("NFKC", text) if "\u0600" <= letter <= "\u06ff"]
    assert sorted(letters) == sorted("قبانيلنزار")


@NEEDS_POPPLER
def test_the_page_says_which_letters_no_font_has(results, classifier, tmp_path):
    text = page_text(results, classifier, tmp_path, "ISO_IR 192", "Doe^\U000130b8")  # a hieroglyph
    assert "Doe [U+130B8]" in text
    assert "[U+...] is the Unicode number of a letter that no font on this machine has." in text


def page_text(results, classifier, folder, character_set, patient):
    ds = make_ds(picture(), SpecificCharacterSet=character_set, PatientName=patient, AccessionNumber="A-77")
    document = results.of(classified(classifier, save(ds, folder / "image.dcm")), MADE)[-1]
    (folder / "page.pdf").write_bytes(document.EncapsulatedDocument[: document.EncapsulatedDocumentLength])
    return run("pdftotext", "-layout", folder / "page.pdf", "-").decode()


@NEEDS_POPPLER
def test_the_page_says_all_that_a_physician_must_know(results, classifier, tmp_path):
    text = " ".join(page_text(results, classifier, tmp_path, "ISO_IR 100", "Doe^Jane").split())
    for words in (
        *(
            "Research software, not a medical device: not for diagnosis or treatment.",
            "Doe Jane",
            "P1",
            "A-77",
        ),
        *("Result: COVID-19", "Decision: COVID-19 (97.0 %).", "Pneumonia 2.0 % 39.0 % yes", "the rule"),
        *(classifier.model["weights_sha256"][:16], "covid_cxr_classification, version", "Limits."),
        *("Image as displayed", "A-77"),
    ):
        assert words in text, words
    assert run("pdfinfo", tmp_path / "page.pdf").decode().count("Pages:           1")


# -- what is copied ------------------------------------------------------------------------------------------

# Left out on purpose: animals, numbers and photographs; nothing an archive matches on.
NOT_COPIED = {
    *("PatientBirthDateInAlternativeCalendar", "PatientDeathDateInAlternativeCalendar"),
    *("PatientAlternativeCalendar", "StrainDescription", "StrainNomenclature", "StrainStockSequence"),
    *("StrainAdditionalInformation", "StrainCodeSequence", "GeneticModificationsSequence"),
    *("ReferencedPatientPhotoSequence", "PatientSpeciesDescription", "PatientSpeciesCodeSequence"),
    *("PatientBreedDescription", "PatientBreedCodeSequence", "BreedRegistrationSequence"),
    *("ResponsiblePerson", "ResponsiblePersonRole", "ResponsibleOrganization", "PatientSexNeutered"),
    *("SourcePatientGroupIdentificationSequence", "GroupOfPatientsIdentificationSequence"),
    *("PatientSizeCodeSequence", "PatientBodyMassIndex", "MeasuredAPDimension", "MeasuredLateralDimension"),
    "PregnancyStatus",
}


def test_every_attribute_of_the_patient_and_study_modules_is_copied_or_named():
    modules = get_module_attribute_map()
    ours = set(IDENTITY) | set(DESCRIPTION) | {"StudyInstanceUID"}
    theirs = {
        item["keyword"]
        for module in ("patient", "general-study", "patient-study")
        for item in modules[module]
        if not item["path"]
    }
    assert theirs - ours == NOT_COPIED


@NEEDS_DCIODVFY
def test_issuers_and_codes_are_copied(classifier, tmp_path):
    issuer = pydicom.Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3.4", "ISO"
    other = pydicom.Dataset()
    other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID = "X-9", "Elsewhere", "TEXT"
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "XCH", "99HERE", "Chest"
    elements = {
        "IssuerOfPatientID": "St Mary",
        "IssuerOfPatientIDQualifiersSequence": [issuer],
        "IssuerOfAccessionNumberSequence": [issuer],
        "OtherPatientIDsSequence": [other],
        "ProcedureCodeSequence": [code],
        "AccessionNumber": "A1",
        "StudyID": "S1",
        "ReferringPhysicianName": "Roe^Richard",
        "StudyDate": "20240229",
        "StudyTime": "101112.5",
        "PatientBirthDate": "19500101",
        "PatientAge": "074Y",
        "TimezoneOffsetFromUTC": "+0100",
        "PatientIdentityRemoved": "NO",
    }
    image = save(make_ds(picture(), **elements), tmp_path / "image.dcm")
    objects = ResultObjects(classifier, pdf=True).of(classified(classifier, image), MADE)
    source = pydicom.dcmread(image)
    for ds in objects:
        for keyword in elements:
            assert ds[keyword] == source[keyword], keyword
    assert complaints(objects, tmp_path) == []


ILLEGAL = {
    "PatientSex": b"X ",
    "PatientBirthDate": b"01.02.50",
    "StudyDate": b"yesterday",
    "StudyTime": b"noon",
    "PatientAge": b"44",
    "PatientWeight": b"heavy ",
    "PatientComments": b"a\x07b ",
    "StudyDescription": b"L" * 80,
    "TimezoneOffsetFromUTC": b"?",
}


@NEEDS_DCIODVFY
def test_illegal_values_stay_away_and_required_elements_are_there(classifier, tmp_path):
    image = with_bytes(tmp_path, **ILLEGAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        objects = ResultObjects(classifier, pdf=True).of(classified(classifier, image), MADE)
    for ds in objects:
        for keyword in ("PatientSex", "PatientBirthDate", "StudyDate", "StudyTime"):
            assert keyword in ds
            assert not ds[keyword].value
        assert "PatientAge" not in ds
        assert "PatientWeight" not in ds
    assert complaints(objects, tmp_path) == []


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", b"I" * 71),  # longer than LO, and of odd length
        ("PatientID", b"a\\b\\c"),
        ("PatientName", "Müller^Jürgen".encode()),  # UTF-8 without saying so
        ("PatientName", b"\xff\xfe\xfd "),
        ("AccessionNumber", b"ACCESSION-NUMBER-0001"),
        ("ReferringPhysicianName", b"a^b^c^d^e^f^g "),
    ],
)
def test_what_an_archive_matches_on_is_kept_whatever_it_is(classifier, tmp_path, keyword, value):
    image = with_bytes(tmp_path, **{keyword: value})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        objects = ResultObjects(classifier, pdf=True).of(classified(classifier, image), MADE)
    for path in write_results(objects, tmp_path / "out"):
        assert raw(path, keyword) == value + b" " * (len(value) % 2)


@pytest.mark.parametrize(
    ("found", "written"),
    [
        ("ISO-IR 100", "ISO_IR 100"),
        ("ISO_2022_IR_87", "ISO 2022 IR 87"),
        ("LATIN1", None),
        ("ISO_IR 999", None),
    ],
)
def test_misspelt_character_sets_are_corrected_and_unknown_ones_left_out(
    classifier, tmp_path, found, written
):
    image = with_bytes(tmp_path, SpecificCharacterSet=(found + " " * (len(found) % 2)).encode())
    (report,) = ResultObjects(classifier, heatmap=False).of(classified(classifier, image), MADE)
    assert report.get("SpecificCharacterSet") == written


@NEEDS_DCIODVFY
@pytest.mark.parametrize(
    ("offset", "date", "time"),
    [
        (None, "20261130", "230405"),
        ("+0330", "20261201", "043405"),
        ("-0800", "20261130", "170405"),
        ("+1", "20261130", "230405"),  # not legal, so not copied
    ],
)
def test_results_carry_the_time_of_their_making_in_the_time_zone_of_the_study(
    classifier, tmp_path, offset, date, time
):
    made = datetime(2026, 11, 30, 23, 4, 5, 678, tzinfo=timezone(timedelta(hours=-2)))
    elements = {"StudyDate": "20200201", "ContentDate": "20200201", "ContentTime": "1011"}
    elements |= {} if offset is None else {"TimezoneOffsetFromUTC": offset}
    image = save(make_ds(picture(), **elements), tmp_path / "image.dcm")
    objects = ResultObjects(classifier, pdf=True).of(classified(classifier, image), made)
    report, heatmap, state, document = objects
    assert complaints(objects, tmp_path) == []
    for ds in objects:
        assert ds.StudyDate == "20200201"
        assert ds.get("TimezoneOffsetFromUTC") == (offset if offset in ("+0330", "-0800") else None)
        assert (ds.InstanceCreationDate, ds.InstanceCreationTime) == (date, time)
        assert (ds.SeriesDate, ds.SeriesTime) == (date, time)
    for ds in (report, heatmap, document):
        assert (ds.ContentDate, ds.ContentTime) == (date, time)
    assert (state.PresentationCreationDate, state.PresentationCreationTime) == (date, time)
    assert (heatmap.DateOfSecondaryCapture, heatmap.TimeOfSecondaryCapture) == (date, time)
