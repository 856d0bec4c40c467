"""The part of the body by the header, against the standard's tables and in the words of many countries."""

import re

import pydicom
import pytest
from dicom_helpers import code_item, standard_codes
from pydicom.dataset import Dataset

from covid_monai.core.vocabulary import RefusalReason, RefusedImage
from covid_monai.dicom.body_part import check_body_part

# What a radiograph of the chest may be coded as; every other concept of CID 4009 is another part.
CHEST_CONCEPTS = {
    *("Chest", "Apex of Lung", "Bronchus", "Heart", "Mediastinum", "Chest and Abdomen"),
    *("Chest, Abdomen and Pelvis", "Neck and Chest", "Neck, Chest and Abdomen"),
    "Neck, Chest, Abdomen and Pelvis",
}
# Terms of PS3.16 Annex L for those concepts, and for the others that a projection radiograph may show.
CHEST_TERMS = [
    *("CHEST", "LUNG", "BRONCHUS", "HEART", "MEDIASTINUM"),
    *("CHESTABDOMEN", "CHESTABDPELVIS", "NECKCHEST"),
    *("NECKCHESTABDOMEN", "NECKCHESTABDPELV"),
]
OTHER_TERMS = """
    ABDOMEN ABDOMENPELVIS ANKLE ARM AXILLA BACK BLADDER BRAIN BREAST BUTTOCK CALCANEUS CALF CHEEK CLAVICLE
    COCCYX COLON CSPINE CTSPINE DUODENUM EAR ELBOW ESOPHAGUS EXTREMITY EYE EYELID FACE FEMUR FINGER FOOT
    FOREARM GALLBLADDER HAND HEAD HEADNECK HIP HUMERUS IAC ILEUM ILIUM JAW JEJUNUM KIDNEY KNEE LARYNX LEG
    LIVER LSPINE LSSPINE MAXILLA MOUTH NECK NOSE ORBIT PANCREAS PAROTID PATELLA PELVIS PHARYNX PROSTATE
    RECTUM RIB SCALP SCAPULA SHOULDER SKULL SPINE SPLEEN SSPINE STERNUM STOMACH SUBMANDIBULAR THIGH THUMB
    TLSPINE TMJ TOE TONGUE TRACHEA TSPINE URETER URETHRA UTERUS WHOLEBODY WRIST ZYGOMA
"""
CHEST_WORDS = [
    *(
        "PORT CHEST",
        "CHEST_ABDOMEN",
        "Thorax",
        "Tórax",
        "tórax AP",
        "TORAX",
        "Brustkorb",
        "poumons",
        "torace",
    ),
    *("Klatka piersiowa", "GÖĞÜS", "akciğer", "toraks", "borstkas"),
    *("longen", "pecho", "peito", "poitrine"),
    *("THX", "CXR", "PCHEST", "CHEST1", "THORACIC", "Lunge", "胸部", "흉부", "грудная клетка", "hrudník"),
    *("صدر", "חזה", "צילום בית החזה", "صدر وبطن"),
    *("SHOULDER/CHEST", "Thorax und Rippen", "CHEST, LUMBAR SPINE", "BABYGRAM", "UNKNOWN", ""),
]
OTHER_WORDS = [
    *(
        "Col. dorsal AP",
        "DSPINE",
        "D-L SPINE",
        "COLLARBONE",
        "Rücken",
        "parrilla costal",
        "hemitórax derecho",
    ),
    *("T-SPINE", "T.SPINE", "THORACIC SPINE", "Spine thoracic"),
    *("thoracic vertebrae", "THORACO-LUMBAR SPINE"),
    *(
        "Dorsal spine",
        "SPINE^THORACIC",
        "BWS",
        "Brustwirbelsäule",
        "Wirbelsaeule",
        "thorakale Wirbelsäule",
        "LWS",
    ),
    *("rachis dorsal", "rachis thoracique", "colonne thoracique", "columna torácica", "columna dorsal"),
    *("colonna toracica", "coluna torácica", "thoracale wervelzuil", "kręgosłup piersiowy"),
    *("omurga", "胸椎"),
    *("КОЛЕНО", "коленный сустав", "плечо", "بطن", "العمود الفقري", "כתף", "עמוד שדרה", "ברך", "צלעות"),
    *("DORSOLUMBAR", "Thorax knöchern", "Thoraxskelett", "torace osseo"),
    *("RIBS", "RIBS LEFT", "Rippen", "knöcherner Hemithorax"),
    *("knöcherner Thorax", "côtes", "gril costal"),
    *(
        "costillas",
        "costole",
        "żebra",
        "kaburga",
        "肋骨",
        "CLAVICLE",
        "Schlüsselbein",
        "clavicule",
        "clavícula",
    ),
    *("obojczyk", "SHOULDER", "Schulter", "épaule", "hombro", "spalla", "ombro", "omuz", "scapula"),
    *("ABDOMEN AP", "Bauch", "vientre", "addome", "buik", "brzuch", "STERNUM", "AC joint"),
]
DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")
STUDY_TEXTS = ("StudyDescription", "RequestedProcedureDescription", "PerformedProcedureStepDescription")


def header(**elements) -> Dataset:
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def refusal(ds: Dataset) -> str | None:
    try:
        check_body_part(ds)
    except RefusedImage as error:
        return error.detail if error.reason is RefusalReason.NOT_CHEST else None
    return None


@pytest.mark.parametrize("scheme", ["SCT", "SRT"])
def test_every_anatomy_of_the_standard_by_its_code(scheme):
    concepts = list(standard_codes(4009, scheme))
    assert len(concepts) > 90
    assert {meaning for _, meaning in concepts} >= (CHEST_CONCEPTS if scheme == "SCT" else set())
    for value, meaning in concepts:
        # The meaning may be in any language, so that the code must do.
        for keyword in ("AnatomicRegionSequence", "PrimaryAnatomicStructureSequence"):
            found = refusal(header(**{keyword: [code_item(value, "-", scheme)]}))
            assert (found is None) == (meaning in CHEST_CONCEPTS), meaning
            assert found is None or found.startswith(f"{keyword} names {meaning.lower()}")


def test_every_anatomy_of_the_standard_by_its_meaning():
    for _, meaning in standard_codes(4009, "SCT"):
        found = refusal(header(AnatomicRegionSequence=[code_item("1", meaning, "99LOCAL")]))
        assert found is None or meaning not in CHEST_CONCEPTS, meaning
        spine_or_limb = re.search(
            r"(?i)spine|rib|clavicle|shoulder|abdomen|scapula|sternum|knee|hand$", meaning
        )
        assert found or not spine_or_limb or meaning in CHEST_CONCEPTS, meaning


@pytest.mark.parametrize("term", [*CHEST_TERMS, *CHEST_WORDS])
def test_a_chest_is_accepted(term):
    assert refusal(header(BodyPartExamined=term)) is None
    assert refusal(header(AnatomicRegionSequence=[code_item("1", term, "99LOCAL")])) is None


@pytest.mark.parametrize("term", [*OTHER_TERMS.split(), *OTHER_WORDS])
def test_another_part_is_refused(term):
    assert "a chest was expected" in refusal(header(BodyPartExamined=term))
    assert "a chest was expected" in refusal(header(AnatomicRegionSequence=[code_item("1", term, "99LOCAL")]))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Thoracic spine 2 views",
            "XR T-SPINE",
            "XR RIBS LEFT",
            "XR SHOULDER LEFT",
            "Clavicle right",
            "KUB",
        ),
        *("ABDOMEN 1 VIEW", "BWS in 2 Ebenen", "Rippen links"),
        *("Rx columna dorsal", "rachis dorsal face"),
    ],
)
def test_descriptions_that_name_another_part(text):
    for keyword in (*DESCRIPTIONS, *STUDY_TEXTS):
        assert refusal(header(**{keyword: text})).startswith(f"{keyword} names ")
    for keyword in (
        "PerformedProtocolCodeSequence",
        "ProcedureCodeSequence",
        "RequestedProcedureCodeSequence",
    ):
        assert refusal(header(**{keyword: [code_item("1", text, "99LOCAL")]})).startswith(f"{keyword} names ")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Chest and knee",
            "CHEST PA, PELVIS AP",
            "XR CHEST RIBS LEFT",
            "XR Chest and Abdomen",
            "line check neck",
        ),
        *("Port placement left arm, check position", "Chest portable 1 view", "Acute abdomen series"),
        *("Main hospital", "head of bed 30 degrees", "Thorax Fr. Hand"),
    ],
)
def test_descriptions_that_do_not(text):
    for keyword in (*DESCRIPTIONS, *STUDY_TEXTS):
        assert refusal(header(**{keyword: text})) is None


def test_the_image_is_asked_before_the_study():
    assert refusal(header(BodyPartExamined="CHEST", StudyDescription="XR T-SPINE")) is None
    assert refusal(header(SeriesDescription="Thorax pa", StudyDescription="XR T-SPINE")) is None
    assert refusal(header(StudyDescription="XR T-SPINE", RequestedProcedureDescription="Chest")) is None
    assert refusal(header(BodyPartExamined="TSPINE", StudyDescription="CHEST")) is not None
    request = header(ScheduledProcedureStepDescription="Thorax 2 Ebenen")
    assert refusal(header(StudyDescription="XR T-SPINE", RequestAttributesSequence=[request])) is None
    request = header(RequestedProcedureDescription="XR T-SPINE")
    assert refusal(header(RequestAttributesSequence=[request])).startswith("RequestedProcedureDescription")


@pytest.mark.parametrize(
    ("elements", "found"),
    [
        (
            {"BodyPartExamined": "SKULL", "SeriesDescription": "CHEST PA"},
            "BodyPartExamined names SKULL, although SeriesDescription names CHEST",
        ),
        (
            {"BodyPartExamined": "CHEST", "SeriesDescription": "T-SPINE AP"},
            "SeriesDescription names SPINE, although BodyPartExamined names CHEST",
        ),
        (
            {"BodyPartExamined": "CHEST", "AnatomicRegionSequence": [code_item("122495006", "-")]},
            "AnatomicRegionSequence names thoracic spine, although BodyPartExamined names CHEST",
        ),
    ],
)
def test_a_contradiction_is_refused_and_named(elements, found):
    assert refusal(header(**elements)) == f"{found}; a chest was expected."


@pytest.mark.parametrize("text", ["Femur Müller, Anna", "FEMURMUELLER ANNA 1.1.1950"])
def test_only_words_of_our_tables_are_quoted(text):
    assert refusal(header(SeriesDescription=text)) == "SeriesDescription names FEMUR; a chest was expected."


def test_malformed_elements_say_nothing():
    assert refusal(header(BodyPartExamined=["", "CHEST"], AnatomicRegionSequence=[Dataset()])) is None
    ds = header()
    ds.add_new("AnatomicRegionSequence", "LO", "KNEE")
    assert refusal(ds) is None


@pytest.mark.real_data
def test_real_headers(real_data):
    files = [*(real_data / "dicom").iterdir(), *(real_data / "dicom-more").iterdir()]
    headers = {path.name: pydicom.dcmread(path, force=True, stop_before_pixels=True) for path in files}
    radiographs = {name: ds for name, ds in headers.items() if ds.get("Modality") in ("CR", "DX", "OT")}
    refused = {name for name, ds in radiographs.items() if refusal(ds)}
    assert refused == {"RG3_J2KI.dcm", "RG3_J2KR.dcm", "CR-ModalitySequenceLUT.dcm"}  # two legs, teeth
    assert len(radiographs) > len(refused) + 4
