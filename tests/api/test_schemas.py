"""The JSON bodies of the REST service: which addresses they take, and that a record is that of predict."""

import json
from dataclasses import replace

import numpy as np
import pytest
from api_helpers import LIMITS
from pydantic import ValidationError
from results_helpers import classified, refused, two_levels

from covid_monai.api.schemas import DicomJsonInstance, LimitsShown, Problem, Record, Reference
from covid_monai.lungs import lung_quality

INSTANCE = "https://pacs.example/dicom-web/studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.5"


@pytest.mark.parametrize(
    "address",
    [INSTANCE, INSTANCE.replace("https", "http"), INSTANCE.replace("pacs.example", "[::1]:8042")],
)
def test_addresses_of_instances_are_taken(address):
    assert Reference(dicomweb_url=address).dicomweb_url == address


@pytest.mark.parametrize(
    "address",
    [
        *("", "file:///etc/passwd", "ftp" + INSTANCE[5:], INSTANCE[8:], INSTANCE + "/", INSTANCE + "\n"),
        *(INSTANCE + "/frames/1", INSTANCE + "?x=1", INSTANCE + "#x", INSTANCE.replace("pacs", "pa cs")),
        *(INSTANCE.rpartition("/instances")[0], INSTANCE.replace("1.2.3.4.5", "1.2.x")),
        *(INSTANCE.replace("1.2.3.4.5", ".1"), INSTANCE + "1" * 64, INSTANCE.replace("pacs", "pä")),
        INSTANCE.replace("dicom-web", "d" * 1024),
    ],
)
def test_other_addresses_are_not(address):
    with pytest.raises(ValidationError):
        Reference(dicomweb_url=address)


def test_a_member_that_nobody_knows_is_an_error_and_an_element_of_an_instance_is_not():
    with pytest.raises(ValidationError, match="Extra inputs"):
        Reference(dicomweb_url=INSTANCE, patient="Doe")
    instance = DicomJsonInstance.model_validate(
        {"00081190": {"vr": "UR", "Value": [INSTANCE]}, "00100010": {"vr": "PN"}}
    )
    assert instance.retrieve_url.Value == [INSTANCE]


@pytest.mark.parametrize(
    "element",
    [
        *({"vr": "UR"}, {"vr": "UI", "Value": [INSTANCE]}, {"vr": "UR", "Value": []}),
        *({"vr": "UR", "Value": [INSTANCE, INSTANCE]}, {"vr": "UR", "Value": ["http://x"]}, None),
    ],
)
def test_an_instance_without_one_retrieve_url_is_an_error(element):
    with pytest.raises(ValidationError):
        DicomJsonInstance.model_validate({"00081190": element})


def test_a_record_is_that_of_predict(classifier):
    decided, span = classified(classifier, "a.dcm"), {"false_alarms": [0, 0.1], "sensitivity": [0.5, 1]}
    levels = two_levels(decided, cause="covid", interval=span)
    shift = {"nearest": "kermany", "like_training": True, "note": "One sentence."}
    mask = np.zeros((64, 64))
    mask[:50, 6:28] = mask[:50, 36:58] = 1
    noted = replace(levels, source_shift=shift, quality=json.loads(json.dumps(lung_quality(mask).to_json())))
    for prediction in (decided, levels, noted, refused(classifier, "b.dcm")):
        record = prediction.to_json()
        assert Record.model_validate(record).model_dump(by_alias=True) == record
    with pytest.raises(ValidationError):
        Record.model_validate(record | {"status": "fine"})


def test_limits_are_shown_as_they_are_and_the_memory_of_the_service_is_not():
    assert LimitsShown.model_validate(LIMITS, from_attributes=True).model_dump() == {
        "max_file_bytes": LIMITS.max_file_bytes,
        "max_files": LIMITS.max_files,
        "max_total_bytes": LIMITS.max_total_bytes,
    }


def test_a_problem_may_name_fields_and_needs_the_rest():
    problem = Problem(type="/problems/busy", title="Busy", status=503, detail="Later.", notice="n")
    assert problem.errors is None
    with pytest.raises(ValidationError):
        Problem(title="Busy", status=503)
