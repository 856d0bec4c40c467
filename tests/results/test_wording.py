"""Sentences about a prediction: never "normal" by mistake, plain, and without the file's name."""

from dataclasses import replace

import pytest
from results_helpers import classified, refused

from covid_monai.core.vocabulary import Status
from covid_monai.inference.prediction import Prediction
from covid_monai.results import wording
from covid_monai.results.wording import ResultKind


class Model:
    """What the helpers need of a classifier."""

    model = {"weights_sha256": "0" * 64}  # noqa: RUF012


DECIDED = classified(Model, "a.dcm", probable="pneumonia", decided="pneumonia")
MOVED = classified(Model, "a.dcm", probable="pneumonia", decided="covid")
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
