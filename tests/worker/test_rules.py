"""Selection rules: which images they select, and that no malformed UID passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covid_monai.dicom.own_results import own_instance_uid
from covid_monai.pacs.connection import InstanceAddress
from covid_monai.worker.rules import Rules


@pytest.mark.parametrize(
    ("attributes", "refusal"),
    [
        ({"Modality": "CR", "BodyPartExamined": "chest ", "ViewPosition": "pa"}, None),
        ({"Modality": "CT"}, "modalities"),
        ({"Modality": ""}, "modalities"),
        ({"Modality": "DX", "ViewPosition": ""}, None),
        ({"Modality": "DX", "ViewPosition": "LL"}, "views"),
        ({"Modality": "DX", "BodyPartExamined": "KNEE"}, "body_parts"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, "sop_classes"),
    ],
)
def test_the_default_rules_take_frontal_chest_images(attributes, refusal):
    assert Rules().refusal(attributes) == refusal


def test_rules_may_name_senders_stations_and_what_a_missing_value_means():
    rules = Rules(ae_titles=["CR*"], stations=["ROOM1"], missing="refuse")
    assert rules.refusal({"RemoteAET": "cr7", "StationName": "Room1"}) is None
    assert rules.refusal({"RemoteAET": "DX1", "StationName": "ROOM1"}) == "ae_titles"
    assert rules.refusal({"RemoteAET": "", "StationName": "ROOM1"}) == "ae_titles"
    assert rules.refusal({"StationName": ""}) == "stations"


def test_our_own_results_are_recognised_by_their_uids_whatever_the_rules_say():
    rules = Rules(modalities=["*"], sop_classes=["*"])
    own = InstanceAddress("1.2", "1.3", own_instance_uid("1.3"))
    assert rules.judge(own, {"Modality": "CR"}).refusal == "own_result"
    stranger = InstanceAddress("1.2", "1.3", "1.4")
    assert rules.judge(stranger, {"ManufacturerModelName": "covid-monai results"}).refusal is None


@given(st.text(max_size=80))
def test_only_uids_pass_the_rules(text):
    notice = Rules().judge(InstanceAddress("1.2", "1.3", text), {"Modality": "CR"})
    is_uid = 0 < len(text) <= 64 and all(part.isascii() and part.isdigit() for part in text.split("."))
    assert (notice.refusal is None) == is_uid


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2/../3", "1.2%2f", "1.2\n", "", "1..2", "1.2." * 20])
def test_a_uid_with_path_characters_is_refused(uid):
    assert Rules().judge(InstanceAddress(uid, "1.2", "1.3"), {}).refusal == "malformed_uid"
