"""Sentences about a prediction: never "normal" by mistake, plain, and without the file's name."""

from dataclasses import replace

import numpy as np
import pytest
from results_helpers import classified, refused, two_levels

from covid_monai.core.vocabulary import Status
from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint
from covid_monai.evaluation.decisions.unseen_sources import UnseenSources
from covid_monai.inference import wording
from covid_monai.inference.decision import (
    describe_abnormal,
    find_prediction_set,
    make_decision,
    name_cause,
)
from covid_monai.inference.prediction import Prediction
from covid_monai.inference.wording import ResultKind


class Model:
    """What the helpers need of a classifier."""

    model = {"weights_sha256": "0" * 64}  # noqa: RUF012


DECIDED = classified(Model, "a.dcm", probable="pneumonia", decided="pneumonia")
MOVED = classified(Model, "a.dcm", probable="pneumonia", decided="covid")
SPAN = {"false_alarms": [0.0123, 0.12], "sensitivity": [0.71, 0.84]}
UNCERTAIN = classified(Model, "a.dcm", decided="uncertain", possible=("pneumonia", "covid"))
BARE = replace(DECIDED, decision=None, prediction_set=None)
REFUSED = refused(Model, "Doe^Jane.dcm")
ERROR = Prediction(
    file="/x/Doe^Jane.dcm",
    status=Status.ERROR,
    model={},
    reason="unreadable",
    detail="Doe^Jane.dcm: the file is damaged.",
)


@pytest.mark.parametrize(
    ("prediction", "kind", "finding"),
    [
        (DECIDED, ResultKind.DECIDED, "Pneumonia"),
        (MOVED, ResultKind.DECIDED, "COVID-19"),
        (BARE, ResultKind.DECIDED, "Pneumonia"),
        (UNCERTAIN, ResultKind.UNCERTAIN, "Uncertain: no class decided"),
        (REFUSED, ResultKind.NO_RESULT, "Refused: not classified"),
        (ERROR, ResultKind.NO_RESULT, "Error: not classified"),
    ],
)
def test_every_outcome_has_its_kind_and_its_words(prediction, kind, finding):
    assert wording.result_kind(prediction) is kind
    assert wording.finding(prediction) == finding
    assert wording.is_uncertain(prediction) is (kind is ResultKind.UNCERTAIN)


@pytest.mark.parametrize(
    ("prediction", "sentences"),
    [
        (DECIDED, "Decision: Pneumonia (96.0 %)."),
        (
            MOVED,
            "Decision: COVID-19 (3.0 %), because of its threshold; Pneumonia is the most probable class "
            "(96.0 %).",
        ),
        (
            BARE,
            "Pneumonia is the most probable class (96.0 %). The model has no operating point, so it decides "
            "nothing.",
        ),
        (
            UNCERTAIN,
            "Uncertain: no class decided. Pneumonia and covid are both possible; none can be excluded. "
            "COVID-19 is the most probable class (97.0 %).",
        ),
        (
            REFUSED,
            "Refused: not classified. This does not mean normal. Reason: not a chest. BodyPartExamined names "
            "HAND; a chest was expected.",
        ),
        (
            ERROR,
            "Error: not classified. This does not mean normal. Reason: unreadable. The file is damaged.",
        ),
    ],
)
def test_sentences_say_what_was_decided_and_why(prediction, sentences):
    assert wording.result_sentences(prediction) == sentences


@pytest.mark.parametrize(
    ("prediction", "kind", "finding", "explained"),
    [
        (two_levels(DECIDED), ResultKind.DECIDED, "Abnormal, cause not told", "pneumonia"),
        (two_levels(UNCERTAIN), ResultKind.DECIDED, "Abnormal, cause not told", "covid"),
        (
            two_levels(MOVED, cause="covid"),
            ResultKind.DECIDED,
            "Abnormal: COVID-19 (not validated at this hospital)",
            "covid",
        ),
        (two_levels(MOVED, cause="covid", validated=True), ResultKind.DECIDED, "Abnormal: COVID-19", "covid"),
        (two_levels(DECIDED, call=False), ResultKind.DECIDED, "Normal", "normal"),
        (
            two_levels(DECIDED, call=None),
            ResultKind.UNCERTAIN,
            "Uncertain: normal or abnormal not decided",
            "pneumonia",
        ),
        # The set is normal alone, but the thresholds decide another class.
        (
            two_levels(UNCERTAIN, call=False),
            ResultKind.UNCERTAIN,
            "Uncertain: normal or abnormal not decided",
            "covid",
        ),
    ],
)
def test_both_levels_in_words(prediction, kind, finding, explained):
    assert wording.result_kind(prediction) is kind
    assert wording.finding(prediction) == finding
    assert wording.explained_class(prediction) == explained


def test_sentences_of_both_levels_end_with_what_was_measured_elsewhere():
    assert wording.result_sentences(two_levels(UNCERTAIN, interval=SPAN)) == (
        "Abnormal, cause not told. The evidence is below the cut. Probability of abnormal: 99.0 %. COVID-19 "
        "is the most probable class (97.0 %). On sources left out of the training, 71 to 84 % of abnormal "
        "and 1 to 12 % of normal images were called abnormal (lowest to highest end of the 95 % intervals)."
    )
    assert wording.result_sentences(two_levels(MOVED, cause="covid", validated=True)).startswith(
        "Abnormal: COVID-19. Its cut was set with images of this hospital. Probability of abnormal: 99.0 %."
    )
    bare = replace(two_levels(BARE, call=None), probabilities={"normal": 1.0, "pneumonia": 0.0})
    assert wording.result_sentences(bare) == (
        "Uncertain: normal or abnormal not decided. The model has no calibration, so normal cannot be "
        "excluded. Probability of abnormal: 99.0 %. Pneumonia is the most probable class (< 0.1 %). How "
        "often this is right in a hospital that the training has not seen was not measured."
    )


@pytest.mark.parametrize("adapted", [None, {"hospital": "a"}])
def test_words_never_say_more_than_the_rule_decided(adapted):
    names, cuts = ("normal", "pneumonia", "covid"), {"covid": 1.0}
    point = OperatingPoint("rule", dict(zip(names, (0.4, 0.3, 0.3), strict=True)))
    calibration = Calibration(names, 1.0, dict.fromkeys(names, 0.3), 0.95)
    unseen = UnseenSources(names, cuts, adapted=adapted)
    told = set()
    for row in np.random.default_rng(0).dirichlet((0.5,) * 3, 400).round(6):
        possible = find_prediction_set(row, calibration)
        decision = make_decision(row, point, possible, unseen)
        prediction = replace(
            DECIDED,
            predicted_class=names[row.argmax()],
            probabilities=dict(zip(names, row, strict=True)),
            prediction_set=possible,
            decision=decision,
            abnormal=describe_abnormal(row, names, possible, calibration, unseen),
            cause=name_cause(row, names, possible, decision, unseen),
        )
        words = wording.finding(prediction)
        told.add(words)
        assert (words == "Normal") is (decision["class"] == "normal")
        assert words.startswith("Abnormal") is ("normal" not in possible)
        assert ("COVID" in words) is (decision["class"] == "covid")
        assert "Pneumonia" not in words
    assert len(told) == 4
    assert any("COVID-19 (not validated at this hospital)" in words for words in told) is (adapted is None)


def test_the_heat_map_explains_the_decided_class_else_the_most_probable_one():
    assert wording.explained_class(MOVED) == "covid"
    assert wording.explained_class(BARE) == "pneumonia"
    assert wording.explained_class(replace(UNCERTAIN, predicted_class="normal")) == "normal"
    with pytest.raises(ValueError, match="no class to explain"):
        wording.explained_class(REFUSED)


@pytest.mark.parametrize(
    ("detail", "file", "sentence"),
    [
        ("Doe.dcm: too dark: all is 0.", "/x/Doe.dcm", "too dark: all is 0."),
        ("too dark: all is 0.", "/x/Doe.dcm", "too dark: all is 0."),
        ("No colon.", "Doe.dcm", "No colon."),
        (None, "Doe.dcm", ""),
        (": odd", "Doe.dcm", ": odd"),
    ],
)
def test_only_the_files_name_is_taken_from_a_reason(detail, file, sentence):
    assert wording.reason_sentence(replace(ERROR, detail=detail, file=file)) == sentence


@pytest.mark.parametrize(
    ("possible", "words"),
    [
        (None, "not known"),
        ([], "no class fits"),
        (["covid"], "COVID-19"),
        (["normal", "tb"], "Normal, tb"),
    ],
)
def test_a_prediction_set_in_words(possible, words):
    assert wording.possible_classes(replace(DECIDED, prediction_set=possible)) == words


def test_no_probability_is_told_as_certain():
    certain = replace(DECIDED, probabilities={"normal": 0.0, "pneumonia": 1.0})
    assert (wording.percent(certain, "pneumonia"), wording.percent(certain, "normal")) == (
        "> 99.9 %",
        "< 0.1 %",
    )
    with pytest.raises(KeyError):
        wording.percent(REFUSED, "covid")


@pytest.mark.parametrize(
    ("words", "ascii_words"),
    [("é", "U+00E9"), ("a\\b\n", "aU+005CbU+000A"), ("王", "U+738B"), ("~ !", "~ !"), ("", "")],
)
def test_other_letters_are_spelled_out(words, ascii_words):
    assert wording.ascii_text(words) == ascii_words


def test_labels_fit_into_a_code_meaning():
    assert wording.class_label("tuberculosis") == "tuberculosis"
    assert len(wording.class_label("é" * 64)) == 64
    assert wording.capitalise("is it?") == "Is it?"
    assert wording.capitalise("") == ""
