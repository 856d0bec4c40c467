"""The view by the header, against the standard's tables and in the words of many countries."""

import pytest
from dicom_helpers import code_item, make_ds, picture, save, standard_codes
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from covid_monai.core.vocabulary import RefusalReason, RefusedImage
from covid_monai.dicom.view import check_view, find_other_view
from covid_monai.readers import read_radiograph

FRONTAL_CONCEPTS = {"antero-posterior", "postero-anterior", "frontal"}
ANGLED_CONCEPTS = {"cephalad", "caudad"}  # view modifiers that leave a frontal view frontal

OTHER_VIEWS = [
    *("LL", "RL", "RLD", "LLD", "RLO", "LLO"),  # terms of PS3.3 C.8.1.1.1
    *(
        "LEFTLATERAL",
        "LTLATERAL",
        "LATERALLEFT",
        "RLATDECUB",
        "RIGHT POSTERIOR",
        "LATERAL DECUBITU",
        "OAD",
        "XTL",
    ),
    *(
        "L",
        "R",
        "LAT",
        "LLAT",
        "L LAT",
        "LAT L",
        "LT LAT",
        "LATERAL LEFT",
        "LEFT LATERAL",
        "LATERAL_RIGHT",
        "LATL",
    ),
    *(
        "XTABLE LATERAL",
        "X-TABLE",
        "CROSS TABLE LAT",
        "SWIMMERS",
        "SWIMMER'S",
        "HORIZONTAL BEAM LAT",
        "AXIAL",
        "CORONAL",
    ),
    *("LOBL", "ROBL", "LDECUB", "RDECUB", "PROF", "L-R", "R->L", "LATERALVIEW", "OAI"),
    *("AP LLD", "PA RLD", "AP LAT DECUB", "LATERAL DECUBITUS"),
    *("DECUBITUS", "LLDECUB", "decúbito lateral"),
    *(
        "décubitus latéral",
        "decubito laterale",
        "Seitenlage",
        "LAO",
        "RAO",
        "LPO",
        "RPO",
        "OBL",
        "AP OBLIQUE",
    ),
    *(
        "schräg",
        "schraeg",
        "oblicua",
        "oblíqua",
        "obliquo",
        "schuin",
        "skośne",
        "seitlich",
        "seitl.",
        "profil",
    ),
    *(
        "perfil",
        "laterale",
        "latero-laterale",
        "L-L",
        "dwars",
        "zijdelings",
        "boczne",
        "yan",
        "боковая",
        "側面",
        "侧位",
    ),
]
OTHER_HINTS = [
    *(
        "CHEST LAT",
        "W034 Chest Lat",
        "LAT CHEST",
        "chest_lateral_erect",
        "ChestLat",
        "Thorax seitl.",
        "Thorax profil",
    ),
    *("TORAX PERFIL", "torace LL", "X-Thorax dwars"),
    *("Thorax sida", "Lungor sida", "Keuhkot sivu", "CHEST RAO", "Ngực nghiêng", "stranski posnetek"),
    *("klatka piersiowa boczna", "CHEST LATERAL DECUBITUS"),
    *("صدر جانبي", "חזה צידי", "חזה אלכסוני"),
]
FRONTAL_VIEWS = [
    *("PA", "AP", "FRONTAL", "ANTEROPOSTERIOR", "postero-anterior"),
    *("P.A.", "a/p", "PA ERECT", "AP SUPINE"),
    *(
        "AP PORTABLE",
        "AP SITTING",
        "AP liegend",
        "PA stehend",
        "de face",
        "frente",
        "PA L",
        "AP LORDOTIC",
        "正位",
    ),
]
SILENT_VIEWS = [
    *(
        "",
        "XYZ",
        "A",
        "SUPINE",
        "PORTABLE",
        "ERECT",
        "UNKNOWN",
        "Bettaufnahme",
        "decubito supino",
        "BILATERAL",
    ),
    *("décubitus dorsal", "decúbito dorsal", "LATERALITY"),
]
SILENT_HINTS = [
    *("胸部正侧位", "SIDA", "Suspected SIDA, PA"),  # both views; AIDS in Romance languages
    *(
        "PA AND LATERAL",
        "CHEST PA/LAT",
        "CHEST (PA AND LAT)",
        "Chest 2 views",
        "Thorax pa und seitl.",
        "FACE ET PROFIL",
    ),
    *(
        "torace PA+LL",
        "TORAX AP Y LATERAL",
        "Chest portable 1 view",
        "CHEST AP",
        "CHEST PA LAT OBL",
        "Dr. Rao",
    ),
]
HINTS = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription", "BodyPartExamined")


def header(**elements) -> Dataset:
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize("scheme", ["SCT", "SRT"])
def test_every_view_of_the_standard_by_its_code(scheme):
    concepts = list(standard_codes(4010, scheme))
    assert len(concepts) > 40
    for value, meaning in concepts:
        found = find_other_view(header(ViewCodeSequence=[code_item(value, "-", scheme)]))
        expected = "" if meaning in FRONTAL_CONCEPTS else f"ViewCodeSequence names {meaning.lower()}"
        assert found == expected, meaning


def test_codes_of_earlier_editions():
    for value in ("R-10202", "R-10206", "R-10214"):
        meaning = "postero-anterior" if value == "R-10214" else "-"
        ds = header(ViewCodeSequence=[code_item(value, meaning, "SNM3")], SeriesDescription="CHEST LAT")
        assert find_other_view(ds) == ""


def test_every_view_modifier_of_the_standard():
    for scheme in ("SCT", "DCM"):
        for value, meaning in standard_codes(4011, scheme):
            view = code_item("399348003", "antero-posterior")
            view.ViewModifierCodeSequence = [code_item(value, "-", scheme)]
            assert (find_other_view(header(ViewCodeSequence=[view])) == "") == (meaning in ANGLED_CONCEPTS), (
                meaning
            )


def test_every_position_of_the_patient():
    for value, meaning in standard_codes(20, "SCT"):
        item = code_item("102538003", "recumbent")
        item.PatientOrientationModifierCodeSequence = [code_item(value, "-")]
        found = find_other_view(header(PatientOrientationCodeSequence=[item]))
        assert bool(found) == ("lateral decubitus" in meaning), meaning
    assert find_other_view(header(PatientPosition="HFDL")) == "PatientPosition names HFDL"
    assert find_other_view(header(PatientPosition="HFS")) == ""


AXES = {"L": 0, "R": 0, "A": 1, "P": 1, "H": 2, "F": 2}
DIRECTIONS = [*AXES, *(first + second for first in AXES for second in AXES if AXES[first] != AXES[second])]


@pytest.mark.parametrize("row", DIRECTIONS)
def test_orientations_by_the_axes_of_their_letters(row):
    """Neither side of a frontal image runs mainly to the front or back, nor its left or right partly."""
    for column in DIRECTIONS:
        slanted = any(AXES[side[0]] == 0 and AXES[side[-1]] == 1 for side in (row, column))
        expected = AXES[row[0]] == 1 or AXES[column[0]] == 1 or slanted
        assert bool(find_other_view(header(PatientOrientation=[row, column]))) == expected, column


@pytest.mark.parametrize("view", OTHER_VIEWS)
def test_other_views_are_refused_wherever_the_header_says_it(view):
    assert find_other_view(header(ViewPosition=view)).startswith("ViewPosition names ")
    item = code_item("1", view, "99LOCAL")
    assert find_other_view(header(ViewCodeSequence=[item])).startswith("ViewCodeSequence names ")


@pytest.mark.parametrize("view", FRONTAL_VIEWS)
def test_frontal_views_pass_whatever_a_description_says(view):
    assert find_other_view(header(ViewPosition=view, SeriesDescription="CHEST LAT")) == ""


@pytest.mark.parametrize("view", SILENT_VIEWS)
def test_other_words_leave_it_to_the_descriptions(view):
    assert find_other_view(header(ViewPosition=view)) == ""
    ds = header(ViewPosition=view, SeriesDescription="CHEST LAT", PatientOrientation=["L", "F"])
    assert find_other_view(ds) == "SeriesDescription names LAT"


@pytest.mark.parametrize("text", OTHER_HINTS)
def test_descriptions_are_the_last_hint(text):
    for keyword in HINTS:
        assert find_other_view(header(**{keyword: text})).startswith(f"{keyword} names ")
    assert find_other_view(header(StudyDescription=text)) == ""  # said of all images of the study


@pytest.mark.parametrize("text", [*SILENT_HINTS, *SILENT_VIEWS])
def test_descriptions_of_several_images_say_nothing(text):
    for keyword in HINTS:
        assert find_other_view(header(**{keyword: text})) == ""


def test_a_contradiction_is_named():
    ds = header(ViewPosition="PA", ViewCodeSequence=[code_item("399067008", "lateral")])
    assert find_other_view(ds) == "ViewCodeSequence names lateral, although ViewPosition names PA"
    ds = header(ViewPosition="AP", PatientOrientation=["P", "F"])
    assert find_other_view(ds) == "PatientOrientation names P (front or back), although ViewPosition names AP"


@given(st.text(max_size=30))
def test_only_words_of_our_tables_are_quoted(text):
    found = find_other_view(header(SeriesDescription=f"Doe {text} lat"))
    assert "Doe" not in found


def test_a_lateral_image_is_read_for_display_and_then_refused(tmp_path):
    image, meta = read_radiograph(save(make_ds(picture(), ViewPosition="LL"), tmp_path / "image.dcm"))
    assert image.shape == (1, 96, 128)
    with pytest.raises(RefusedImage, match=r"ViewPosition names LL; a frontal view \(PA or AP\)") as error:
        check_view(meta)
    assert error.value.reason is RefusalReason.NOT_FRONTAL
    _, meta = read_radiograph(save(make_ds(picture(), ViewPosition="PA"), tmp_path / "image.dcm"))
    check_view(meta)
