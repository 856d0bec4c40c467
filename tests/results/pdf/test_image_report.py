"""The PDF report of one image: every kind of file, every outcome, names in any script."""

import re
from dataclasses import replace

import pytest
from dicom_helpers import make_ds, picture, save
from PIL import Image
from results_helpers import MADE, NEEDS_POPPLER, classified, refused, run, text_of, two_levels

from covid_monai.core.vocabulary import RESEARCH_USE, Status
from covid_monai.inference.prediction import Prediction
from covid_monai.results.pdf.image_report import make_image_report

pytestmark = NEEDS_POPPLER


def unreadable(classifier, file):
    return Prediction(
        file=str(file),
        status=Status.ERROR,
        model=classifier.model,
        reason="unreadable",
        detail=f"{file.name}: not a DICOM, JPEG or PNG file",
    )


def pictures_in(folder):
    return len(run("pdfimages", "-list", folder / "page.pdf").decode().splitlines()) - 2


@pytest.fixture
def png(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "Ли 王 image.png")
    return tmp_path / "Ли 王 image.png"


def test_a_picture_without_a_header_has_its_page(classifier, png, tmp_path):
    note = {"nearest": "a\u4e2d", "like_training": True, "note": "The image resembles those of a\u4e2d."}
    lungs = {"note": "Lungs found."}
    noted = replace(classified(classifier, png), source_shift=note, quality=lungs)
    text = text_of(make_image_report(classifier, noted, made=MADE), tmp_path)
    assert "Source. The image resembles those of aU+4E2D." in text
    assert "Lungs. Lungs found." in text
    for words in (
        *("Ли 王 image.png", "not known: no DICOM header", "Result: COVID-19", "Pneumonia 2.0 % 39.0 % yes"),
        *(RESEARCH_USE, "the rule", "Image as displayed", "evidence for COVID-19", "Limits.", "Report made"),
        *(f"version {classifier.model['version']}", classifier.model["weights_sha256"][:16]),
    ):
        assert words in text, words
    assert pictures_in(tmp_path) == 2


def test_abnormal_comes_before_the_cause(classifier, png, tmp_path):
    span = {"false_alarms": [0.01, 0.12], "sensitivity": [0.71, 0.84]}
    prediction = two_levels(classified(classifier, png), cause="covid", interval=span)
    text = text_of(make_image_report(classifier, prediction, made=MADE), tmp_path)
    assert "Result: Abnormal: COVID-19 (not validated at this hospital)" in text
    assert "71 to 84 % of abnormal and 1 to 12 % of normal images were called abnormal" in text
    assert "Abnormal 99.0 % 60.0 % no Normal 1.0 % 47.0 % yes" in text


@pytest.mark.slow
def test_uncertain_is_said_and_has_another_colour(classifier, png, tmp_path):
    uncertain = classified(classifier, png, decided="uncertain", possible=("pneumonia", "covid"))
    text = text_of(make_image_report(classifier, uncertain, made=MADE), tmp_path)
    assert "Result: Uncertain: no class decided" in text
    assert "Not excluded: Pneumonia, COVID-19." in text
    grounds = [
        colours_of(make_image_report(classifier, each, made=MADE), tmp_path)
        for each in (uncertain, classified(classifier, png), refused(classifier, png))
    ]
    own = [ground - (grounds[0] & grounds[1] & grounds[2]) for ground in grounds]
    assert all(own)
    assert not (own[0] & own[1] | own[0] & own[2] | own[1] & own[2])


def colours_of(document, folder):
    """The colours of a page's grounds: light, and not grey."""
    (folder / "colour.pdf").write_bytes(document)
    run("pdftoppm", "-r", 20, "-png", "-singlefile", folder / "colour.pdf", folder / "colour")
    counted = Image.open(folder / "colour.png").convert("RGB").getcolors(2**16)
    return {colour for count, colour in counted if count > 100 and len(set(colour)) > 1}


@pytest.mark.parametrize("suffix", ["png", "dcm"])
def test_a_refused_image_is_shown_with_its_reason_and_no_finding(classifier, png, tmp_path, suffix):
    image = png if suffix == "png" else save(make_ds(picture()), tmp_path / "image.dcm")
    text = text_of(make_image_report(classifier, refused(classifier, image), made=MADE), tmp_path)
    for words in (
        "Result: Refused: not classified",
        "This does not mean normal. Reason: not a chest. BodyPartExamined names HAND; a chest was expected.",
        *("Image as displayed", "Limits.", "Model.", RESEARCH_USE),
    ):
        assert words in text, words
    assert not re.search("Probability|Pneumonia|Grad-CAM|Operating point", text)
    assert ("Doe Jane" in text) == (suffix == "dcm")
    assert pictures_in(tmp_path) == 1


def test_what_cannot_be_read_has_a_page_without_a_picture(classifier, tmp_path):
    (tmp_path / "text.jpg").write_text("no image at all")
    text = text_of(
        make_image_report(classifier, unreadable(classifier, tmp_path / "text.jpg"), made=MADE), tmp_path
    )
    assert "There is no image to display." in text
    assert "Result: Error: not classified" in text
    assert "Reason: unreadable. Not a DICOM, JPEG or PNG file" in text
    assert pictures_in(tmp_path) == 0


def test_the_image_may_lie_elsewhere_than_the_page_says(classifier, png, tmp_path):
    named = classified(classifier, "upload.png")
    assert "upload.png" in text_of(make_image_report(classifier, named, png, made=MADE), tmp_path)


@pytest.mark.slow
def test_the_longest_name_leaves_the_page_whole(classifier, tmp_path):
    image = tmp_path / ("W" * 250 + ".png")
    Image.fromarray(picture(128, 96)).save(image)
    text = text_of(make_image_report(classifier, classified(classifier, image), made=MADE), tmp_path)
    assert "W…W" in text.replace(" ", "")
    assert "anything else." in text
