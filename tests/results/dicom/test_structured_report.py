"""The Structured Report, as DCMTK and highdicom read it."""

import re

import highdicom
import pydicom
import pytest
from dicom_helpers import make_ds, picture, save
from pydicom.sr.codedict import codes
from results_helpers import (
    MADE,
    NEEDS_DCMTK,
    THRESHOLDS,
    classified,
    complaints,
    refused,
    run,
    two_levels,
)

from covid_monai.core.vocabulary import RESEARCH_USE, Status
from covid_monai.inference.prediction import Prediction
from covid_monai.results import ResultObjects, write_results
from covid_monai.results.dicom.codes import class_concept, measurement_concept

PROBABILITIES = {"normal": 0.01, "pneumonia": 0.02, "covid": 0.97}


@pytest.fixture(scope="module")
def results(classifier):
    return ResultObjects(classifier, heatmap=False)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return save(make_ds(picture()), tmp_path_factory.mktemp("image") / "Doe_Jane.dcm")


def written(results, prediction, folder):
    (path,) = write_results(results.of(prediction, MADE), folder)
    return path


def dump(results, prediction, folder):
    """The report as DCMTK prints it, on one line."""
    return re.sub(rb"\s+", b" ", run("dsrdump", "+Pc", "+Pl", written(results, prediction, folder))).decode()


def group_of(path):
    report = highdicom.sr.srread(path)
    (group,) = report.content.get_image_measurement_groups()
    return report, group


@NEEDS_DCMTK
def test_dcmtk_reads_finding_probabilities_thresholds_and_notice(results, classifier, image, tmp_path):
    text = dump(results, classified(classifier, image), tmp_path)
    assert '(121071,DCM,"Finding")=(840539006,SCT,"COVID-19")' in text
    for code, name, value in (("COVID", "COVID-19", "0.97"), ("NORMAL", "Normal", "0.01")):
        assert f'(P-{code},99COVIDMONAI,"Probability of {name}")="{value}" (1,UCUM,"no units")' in text
    assert '(T-PNEUMONIA,99COVIDMONAI,"Threshold of Pneumonia")="0.39" (1,UCUM,"no units")' in text
    assert '(NOT-EXCLUDED,99COVIDMONAI,"Class that cannot be excluded")=(840539006,SCT,"COVID-19")' in text
    assert f'="{RESEARCH_USE}"' in text
    assert '="the rule"' in text
    assert f'"weights_sha256={classifier.model["weights_sha256"]}"' in text
    assert "Verification Flag : UNVERIFIED" in text or "UNVERIFIED" in text


@NEEDS_DCMTK
def test_dcmtk_reads_that_a_image_is_uncertain(results, classifier, image, tmp_path):
    possible = ("pneumonia", "covid")
    text = dump(results, classified(classifier, image, decided="uncertain", possible=possible), tmp_path)
    assert '(121071,DCM,"Finding")=(373068000,SCT,"Undetermined")' in text
    assert '="Uncertain: no class decided. Pneumonia and covid are both possible;' in text
    assert text.count("NOT-EXCLUDED") == 2
    assert text.count('"Finding"') == 1


@NEEDS_DCMTK
def test_dcmtk_reads_abnormal_before_a_cause_that_is_not_validated(results, classifier, image, tmp_path):
    text = dump(results, two_levels(classified(classifier, image), cause="covid"), tmp_path)
    assert '(121071,DCM,"Finding")=(263654008,SCT,"Abnormal")' in text
    assert '(CAUSE,99COVIDMONAI,"Cause of abnormal")=(840539006,SCT,"COVID-19")' in text
    assert '"Validity of the cause")=(NOT-VALIDATED,99COVIDMONAI,"Not validated at this hospital")' in text
    for code, value in (
        ("ABNORMAL-P", "0.99"),
        ("ABNORMAL-T", "0.6"),
        ("CAUSE-ODDS", "4.5"),
        ("CAUSE-CUT", 2.25),
    ):
        assert re.search(rf'\({code},99COVIDMONAI,"[^"]+"\)="{value}" \(1,UCUM,"no units"\)', text), code
    assert '="Abnormal: COVID-19 (not validated at this hospital). Probability of abnormal: 99.0 %.' in text


@NEEDS_DCMTK
@pytest.mark.parametrize(
    ("call", "finding", "cause"),
    [
        (True, "Abnormal", '"Cause of abnormal")=(NOT-TOLD,'),
        (False, "Normal", None),
        (None, "Undetermined", None),
    ],
)
def test_dcmtk_reads_no_cause_where_none_is_told(results, classifier, image, tmp_path, call, finding, cause):
    text = dump(results, two_levels(classified(classifier, image), call=call), tmp_path)
    (found,) = re.findall(r'"Finding"\)=\([0-9]+,SCT,"(\w+)"\)', text)
    assert found == finding
    assert (cause in text) if cause else ("Cause of abnormal" not in text)
    assert "NOT-VALIDATED" not in text


@NEEDS_DCMTK
def test_dcmtk_reads_that_no_class_fits(results, classifier, image, tmp_path):
    text = dump(results, classified(classifier, image, decided="uncertain", possible=()), tmp_path)
    assert '"Class that cannot be excluded")=(NO-CLASS-FITS,99COVIDMONAI,"No class fits")' in text


@NEEDS_DCMTK
def test_dcmtk_reads_a_refusal_without_finding_or_number(results, classifier, image, tmp_path):
    text = dump(results, refused(classifier, image), tmp_path)
    assert '(111065,DCM,"Summary of Analyses")=(111225,DCM,"Not Attempted")' in text
    assert (
        '(REFUSAL-REASON,99COVIDMONAI,"Reason for refusal")=(NOT_A_CHEST,99COVIDMONAI,"Not a chest")' in text
    )
    assert "Refused: not classified. This does not mean normal. Reason: not a chest." in text
    assert "BodyPartExamined names HAND; a chest was expected." in text
    assert "NUM" not in text
    assert '"Finding"' not in text
    assert "Doe" not in text.split("Measurement Group")[1]  # the file's name may be a patient's


def test_highdicom_reads_the_measurements_back(results, classifier, image, tmp_path):
    report, group = group_of(written(results, classified(classifier, image), tmp_path))
    assert group.finding_type == class_concept("covid")
    measured = {measurement.name.value: measurement.value for measurement in group.get_measurements()}
    assert measured == {f"P-{name.upper()}": value for name, value in PROBABILITIES.items()} | {
        f"T-{name.upper()}": value for name, value in THRESHOLDS.items()
    }
    assert {measurement.unit.value for measurement in group.get_measurements()} == {"1"}
    source = pydicom.dcmread(image)
    expected = (source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID, source.SOPClassUID)
    assert report.get_evidence(current_procedure_only=True) == [expected]
    (image,) = group.source_images
    assert image.referenced_sop_instance_uid == source.SOPInstanceUID
    (scheme,) = report.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == "99COVIDMONAI"
    assert (report.VerificationFlag, report.CompletionFlag) == ("UNVERIFIED", "COMPLETE")


def test_highdicom_finds_no_measurement_in_a_refusal(results, classifier, image, tmp_path):
    _, group = group_of(written(results, refused(classifier, image), tmp_path))
    assert group.get_measurements() == []
    assert group.finding_type is None
    values = [evaluation.value for evaluation in group.get_qualitative_evaluations()]
    assert codes.DCM.NotAttempted in values


def test_class_names_of_ones_own_get_private_codes(results, classifier, image, tmp_path):
    names = ("abnormal", "норма", "a class with a very long name that goes on and on and on, longer than 64")
    prediction = Prediction(
        file=str(image),
        status=Status.OK,
        model=classifier.model,
        predicted_class=names[1],
        probabilities=dict(zip(names, (0.2, 0.5, 0.3), strict=True)),
    )
    objects = results.of(prediction, MADE)
    assert complaints(objects, tmp_path) == []
    _, group = group_of(written(results, prediction, tmp_path))
    assert group.finding_type.scheme_designator == "99COVIDMONAI"
    assert group.finding_type.meaning == "U+043DU+043EU+0440U+043CU+0430"
    assert len({measurement_concept("Probability", name).value for name in names}) == 3
    assert [measurement.value for measurement in group.get_measurements()] == [0.2, 0.5, 0.3]
