"""The page of one image and the report of many: every kind of file, every outcome, names in any script."""

import logging
import re

import pytest
from dicom_helpers import make_ds, picture, save
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from results_helpers import NEEDS_POPPLER, THRESHOLDS, classified, refused, run

from covid_monai.core.vocabulary import RESEARCH_USE, Status
from covid_monai.inference.prediction import Prediction
from covid_monai.results.pdf.batch_report import LARGEST_BATCH, make_batch_report
from covid_monai.results.pdf.image_report import make_image_report
from covid_monai.results.rendering import render_thumbnail

pytestmark = NEEDS_POPPLER


def unreadable(classifier, file):
    return Prediction(
        file=str(file),
        status=Status.ERROR,
        model=classifier.model,
        reason="unreadable",
        detail=f"{file.name}: not a DICOM, JPEG or PNG file",
    )


def text_of(document, folder):
    """The page's words with single spaces; asserts that it is one page whose letters are all there."""
    (folder / "page.pdf").write_bytes(document)
    assert "Pages:           1" in run("pdfinfo", folder / "page.pdf").decode()
    return " ".join(run("pdftotext", "-layout", folder / "page.pdf", "-").decode().split())


def pictures_in(folder):
    return len(run("pdfimages", "-list", folder / "page.pdf").decode().splitlines()) - 2


@pytest.fixture(autouse=True)
def no_missing_glyph(caplog):
    """fpdf2 logs a warning for a letter that no font has."""
    yield
    records = caplog.get_records("call")
    assert not [each for each in records if each.levelno >= logging.WARNING and "fpdf" in each.name]


@pytest.fixture
def png(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "Ли 王 image.png")
    return tmp_path / "Ли 王 image.png"


def test_a_picture_without_a_header_has_its_page(classifier, png, tmp_path):
    text = text_of(make_image_report(classifier, classified(classifier, png)), tmp_path)
    for words in (
        *("Ли 王 image.png", "not known: no DICOM header", "Result: COVID-19", "Pneumonia 2.0 % 39.0 % yes"),
        *(RESEARCH_USE, "the rule", "Image as displayed", "evidence for COVID-19", "Limits.", "Report made"),
        *(f"version {classifier.model['version']}", classifier.model["weights_sha256"][:16]),
    ):
        assert words in text, words
    assert pictures_in(tmp_path) == 2


@pytest.mark.slow
def test_uncertain_is_said_and_has_another_colour(classifier, png, tmp_path):
    uncertain = classified(classifier, png, decided="uncertain", possible=("pneumonia", "covid"))
    text = text_of(make_image_report(classifier, uncertain), tmp_path)
    assert "Result: Uncertain: no class decided" in text
    assert "Not excluded: Pneumonia, COVID-19." in text
    grounds = [
        colours_of(make_image_report(classifier, each), tmp_path)
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
    text = text_of(make_image_report(classifier, refused(classifier, image)), tmp_path)
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
    text = text_of(make_image_report(classifier, unreadable(classifier, tmp_path / "text.jpg")), tmp_path)
    assert "There is no image to display." in text
    assert "Result: Error: not classified" in text
    assert "Reason: unreadable. Not a DICOM, JPEG or PNG file" in text
    assert pictures_in(tmp_path) == 0


def test_the_image_may_lie_elsewhere_than_the_page_says(classifier, png, tmp_path):
    named = classified(classifier, "upload.png")
    assert "upload.png" in text_of(make_image_report(classifier, named, png), tmp_path)


@pytest.mark.slow
def test_the_longest_name_leaves_the_page_whole(classifier, tmp_path):
    image = tmp_path / ("W" * 250 + ".png")
    Image.fromarray(picture(128, 96)).save(image)
    text = text_of(make_image_report(classifier, classified(classifier, image)), tmp_path)
    assert "W…W" in text.replace(" ", "")
    assert "anything else." in text


# -- many images ---------------------------------------------------------------------------------------------


def batch(classifier, count):
    """Predictions of every kind, and a small picture for most."""
    kinds = (
        lambda file: classified(classifier, file),
        lambda file: classified(classifier, file, decided="normal", probable="normal", possible=("normal",)),
        lambda file: classified(classifier, file, decided="uncertain", possible=("pneumonia", "covid")),
        lambda file: refused(classifier, file),
    )
    predictions = [kinds[i % len(kinds)](f"images/{i:03}.dcm") for i in range(count)]
    small = render_thumbnail(picture().astype("float32") / 255)
    return predictions, {each.file: small for each in predictions if each.ok}


@pytest.mark.filterwarnings("error:The total page count")
def test_a_batch_has_a_summary_and_a_table_with_headings_and_numbers_on_each_page(classifier, tmp_path):
    predictions, thumbnails = batch(classifier, 160)
    document = make_batch_report(predictions, thumbnails, classifier.model, "Images of a morning")
    (tmp_path / "batch.pdf").write_bytes(document)
    pages = run("pdftotext", "-layout", tmp_path / "batch.pdf", "-").decode().split("\f")[:-1]
    assert len(pages) > 9
    for number, page in enumerate(pages, 1):
        assert f"Page {number} of {len(pages)}" in page
        assert RESEARCH_USE in page
        assert "Probabilities" in page
        assert "Not excluded, or reason" in page
    first = " ".join(pages[0].split())
    for words in (
        *(
            "Images of a morning",
            "Images 160",
            "Classified 120",
            "Refused 40",
            "Not readable 0",
            "COVID-19 40",
        ),
        "Pneumonia 0",
        *("Normal 40", "Uncertain: no class decided 40", "Refused: not classified (not a chest) 40"),
        *("the rule Thresholds: Normal 47.0 %, Pneumonia 39.0 %, COVID-19 26.0 %.", "Limits.", "images/"),
        *(classifier.model["weights_sha256"][:16], f"version {classifier.model['version']}", "Report made"),
    ):
        assert words in first, words
    assert set(THRESHOLDS.values()) == {0.47, 0.39, 0.26}
    text = "".join(pages)
    assert [int(number) for number in re.findall(r"(\d{3})\.dcm", text)] == list(range(160))
    assert "BodyPartExamined names HAND" in " ".join(text.split())
    assert text.count("Pneumonia and covid are both") == 40  # why an image is uncertain
    assert all(" yes " in font for font in run("pdffonts", tmp_path / "batch.pdf").decode().splitlines()[2:])


def test_a_batch_needs_no_pictures_and_no_prediction(classifier, tmp_path):
    predictions, _ = batch(classifier, 3)
    for some in (predictions, []):
        assert f"Images {len(some)} " in text_of(
            make_batch_report(some, None, classifier.model, "None"), tmp_path
        )


def test_a_batch_too_large_to_read_is_refused(classifier):
    predictions, _ = batch(classifier, LARGEST_BATCH + 1)
    with pytest.raises(ValueError, match=f"too many for one PDF report. Choose {LARGEST_BATCH} at most"):
        make_batch_report(predictions, None, classifier.model, "Too many")


LETTERS = st.characters(categories=("L", "N", "P", "S", "Zs", "Cc", "Cs", "Co", "Mn"))
READ_BACK = st.characters(max_codepoint=0x17F, categories=("Lu", "Ll", "Nd"))
FEW = settings(max_examples=5)  # a document each


@pytest.mark.slow
@FEW
@given(names=st.lists(st.text(LETTERS, min_size=1, max_size=300), min_size=5, max_size=9))
def test_any_file_name_can_stand_in_a_batch(classifier, names):
    predictions = [refused(classifier, name) for name in names]
    assert make_batch_report(predictions, None, classifier.model, names[0]).startswith(b"%PDF")


@pytest.mark.slow
@FEW
@given(names=st.lists(st.text(READ_BACK, min_size=1, max_size=12), min_size=5, max_size=9))
def test_file_names_are_read_back_from_the_document(classifier, tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("pages")
    document = make_batch_report(
        [refused(classifier, name) for name in names], None, classifier.model, "Names"
    )
    words = text_of(document, folder).split()
    assert set(names) <= set(words)
