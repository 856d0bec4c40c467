"""A prediction as a Structured Report: TID 1500 with one group of evaluations of the whole image."""

from collections.abc import Iterator, Mapping

from highdicom import sr
from pydicom.dataset import FileDataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from covid_monai.core.vocabulary import RESEARCH_USE, RESULT_DEVICE
from covid_monai.inference import wording
from covid_monai.inference.prediction import Prediction
from covid_monai.results.dicom import codes as concepts
from covid_monai.results.dicom.result_series import MANUFACTURER, ResultSeries


def make_structured_report(prediction: Prediction, series: ResultSeries) -> FileDataset:
    """Make the Structured Report of a radiograph that was classified or refused.

    A refused radiograph has neither finding nor numbers: its analysis was not attempted, and the report
    gives the reason.

    Reference: DICOM PS3.3 A.35.3 (Comprehensive SR), PS3.16 TID 1500, TID 1501.
    """
    document = sr.ComprehensiveSR(
        evidence=[series.source.reference],
        content=sr.MeasurementReport(
            observation_context=_observer(series.model),
            procedure_reported=concepts.PLAIN_CHEST_IMAGE if prediction.ok else codes.SCT.PlainRadiography,
            imaging_measurements=[_group(prediction, series)],
            title=codes.DCM.ImagingMeasurementReport,
        ),
        is_complete=True,
        is_final=False,  # only a physician's report is final
        is_verified=False,
        coding_schemes=[concepts.CODING_SCHEME],
        **series.arguments(),
    )
    return series.complete(document)


def _observer(model: Mapping[str, str]) -> sr.ObservationContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=str(generate_uid(entropy_srcs=[MANUFACTURER, model["weights_sha256"]])),
        name=wording.ascii_text(model["name"])[:64],
        manufacturer_name=MANUFACTURER,
        model_name=RESULT_DEVICE,
        serial_number=model["weights_sha256"][:16],
    )
    return sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DCM.Device, device))


def _group(prediction: Prediction, series: ResultSeries) -> sr.MeasurementsAndQualitativeEvaluations:
    reference = series.source.reference
    tracking = sr.TrackingIdentifier(
        uid=str(generate_uid(entropy_srcs=[series.arguments()["sop_instance_uid"], "tracking"])),
        identifier="covid-monai classification",
    )
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        finding_type=_finding(prediction),
        algorithm_id=_algorithm(series.model),
        finding_sites=[sr.FindingSite(codes.SCT.Chest)] if prediction.ok else None,
        measurements=list(_measurements(prediction)),
        qualitative_evaluations=[sr.QualitativeEvaluation(*pair) for pair in _evaluations(prediction)],
        source_images=[sr.SourceImageForMeasurementGroup(reference.SOPClassUID, reference.SOPInstanceUID)],
    )
    for name, words in _texts(prediction):
        group[0].ContentSequence.append(sr.TextContentItem(name, words, sr.RelationshipTypeValues.CONTAINS))
    return group


def _finding(prediction: Prediction) -> sr.CodedConcept | None:
    if not prediction.ok:
        return None
    if wording.is_uncertain(prediction):
        return sr.CodedConcept.from_code(codes.SCT.Undetermined)
    if wording.is_abnormal(prediction):
        return sr.CodedConcept.from_code(codes.SCT.Abnormal)
    return concepts.class_concept(wording.explained_class(prediction))


def _algorithm(model: Mapping[str, str]) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(
        name=wording.ascii_text(model["name"]),
        version=wording.ascii_text(model["version"]),
        parameters=[f"{key}={value}" for key, value in model.items() if key not in ("name", "version")],
        manufacturer=MANUFACTURER,
    )


def _measurements(prediction: Prediction) -> Iterator[sr.Measurement]:
    """Yield the numbers of both levels, then probabilities and thresholds, each with its class."""
    for name, value in _level_numbers(prediction):
        yield sr.Measurement(name, round(value, 6), codes.UCUM.NoUnits)
    thresholds = (prediction.decision or {}).get("thresholds", {})
    for quantity, values in {"Probability": prediction.probabilities or {}, "Threshold": thresholds}.items():
        for class_name, value in values.items():
            name = concepts.measurement_concept(quantity, class_name)
            measurement = sr.Measurement(name, round(value, 6), codes.UCUM.NoUnits)
            # Not "Finding": a program that searches for findings must find one, not every class.
            concept, modifier = concepts.class_concept(class_name), sr.RelationshipTypeValues.HAS_CONCEPT_MOD
            measurement[0].ContentSequence = [sr.CodeContentItem(concepts.CLASS, concept, modifier)]
            yield measurement


def _level_numbers(prediction: Prediction) -> Iterator[tuple[sr.CodedConcept, float]]:
    abnormal, cause = prediction.abnormal or {}, prediction.cause or {}
    numbers = (
        (concepts.ABNORMAL_PROBABILITY, abnormal.get("probability")),
        (concepts.ABNORMAL_THRESHOLD, abnormal.get("threshold")),
        (concepts.CAUSE_ODDS, cause.get("log_odds")),
        (concepts.CAUSE_CUT, cause.get("cut")),
    )
    return ((name, value) for name, value in numbers if value is not None)


def _evaluations(prediction: Prediction) -> Iterator[tuple[sr.CodedConcept, sr.CodedConcept]]:
    if not prediction.ok:
        yield codes.DCM.SummaryOfAnalyses, codes.DCM.NotAttempted
        yield concepts.REFUSAL_REASON, concepts.refusal_concept(str(prediction.reason))
        return
    yield codes.DCM.SummaryOfAnalyses, codes.DCM.Succeeded
    if wording.is_abnormal(prediction):
        yield from _cause(prediction)
    yield concepts.MOST_PROBABLE, concepts.class_concept(str(prediction.predicted_class))
    if prediction.decision is not None:
        at_operating_point = prediction.decision["at_operating_point"]
        yield concepts.AT_OPERATING_POINT, concepts.class_concept(at_operating_point)
    if prediction.prediction_set is not None:
        members = [concepts.class_concept(class_name) for class_name in prediction.prediction_set]
        for member in members or [concepts.NO_CLASS_FITS]:
            yield concepts.NOT_EXCLUDED, member


def _cause(prediction: Prediction) -> Iterator[tuple[sr.CodedConcept, sr.CodedConcept]]:
    """Yield the cause, and whether it was validated at this hospital; or that no cause is told."""
    cause = wording.told_cause(prediction)
    if cause is None:
        yield concepts.CAUSE, concepts.CAUSE_NOT_TOLD
        return
    yield concepts.CAUSE, concepts.class_concept(cause)
    validated = wording.is_validated(prediction)
    yield concepts.VALIDITY, concepts.VALIDATED if validated else concepts.NOT_VALIDATED


def _texts(prediction: Prediction) -> Iterator[tuple[sr.CodedConcept, str]]:
    yield concepts.RESULT, wording.result_sentences(prediction)
    if prediction.decision is not None:
        yield concepts.RULE, wording.ascii_text(prediction.decision["rule"])
    yield concepts.NOTICE, RESEARCH_USE
