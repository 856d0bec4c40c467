"""The PDF report of many images: summary, table, limits, file names in any script."""

import re

import pytest
from dicom_helpers import picture
from hypothesis import given, settings
from hypothesis import strategies as st
from results_helpers import MADE, NEEDS_POPPLER, THRESHOLDS, classified, refused, run, text_of, two_levels

from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.results.pdf.batch_report import LARGEST_BATCH, make_batch_report
from covid_monai.results.rendering import encode_jpeg, render_image

pytestmark = NEEDS_POPPLER


def batch(classifier, count):
    """Predictions of every kind, and a small picture for most."""
    kinds = (
        lambda file: classified(classifier, file),
        lambda file: classified(classifier, file, decided="normal", probable="normal", possible=("normal",)),
        lambda file: classified(classifier, file, decided="uncertain", possible=("pneumonia", "covid")),
        lambda file: refused(classifier, file),
    )
    predictions = [kinds[i % len(kinds)](f"images/{i:03}.dcm") for i in range(count)]
    small = encode_jpeg(render_image(picture().astype("float32") / 255, long_side=192))
    return predictions, {each.file: small for each in predictions if each.ok}


@pytest.mark.slow
@pytest.mark.filterwarnings("error:The total page count")
def test_a_batch_has_a_summary_and_a_table_with_headings_and_numbers_on_each_page(classifier, tmp_path):
    predictions, thumbnails = batch(classifier, 160)
    document = make_batch_report(predictions, thumbnails, classifier.model, "Images of a morning", made=MADE)
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
    in_order = run("pdftotext", "-raw", tmp_path / "batch.pdf", "-").decode()  # cell after cell
    cells = " ".join(in_order.split())
    assert cells.count("Not a chest. BodyPartExamined names HAND; a chest was expected.") == 40
    assert cells.count("Pneumonia and covid are both possible; none can be excluded.") == 40
    assert all(" yes " in font for font in run("pdffonts", tmp_path / "batch.pdf").decode().splitlines()[2:])


def test_a_batch_of_two_levels_counts_abnormal_with_and_without_a_cause(classifier, tmp_path):
    normal = classified(classifier, "n.dcm", decided="normal", probable="normal", possible=("normal",))
    covid = classified(classifier, "c.dcm")
    predictions = [
        *(two_levels(normal, call=False), two_levels(covid, cause="covid"), two_levels(covid)),
        *(two_levels(covid, call=None), refused(classifier, "r.dcm")),
    ]
    text = text_of(make_batch_report(predictions, {}, classifier.model, "Two levels", made=MADE), tmp_path)
    assert (
        "Result Images Normal 1 Abnormal, cause not told 1 Abnormal: COVID-19 (not validated at this "
        "hospital) 1 Uncertain: normal or abnormal not decided 1 Refused: not classified (not a chest) 1"
    ) in text
    assert "Abnormal. How often this is right in a hospital that the training has not seen was not" in text
    in_order = run("pdftotext", "-raw", tmp_path / "page.pdf", "-").decode()  # cell after cell
    assert "The evidence is below the cut." in " ".join(in_order.split())


def test_a_batch_needs_no_pictures_and_no_prediction(classifier, tmp_path):
    predictions, _ = batch(classifier, 3)
    for some in (predictions, []):
        assert f"Images {len(some)} " in text_of(
            make_batch_report(some, {}, classifier.model, "None", made=MADE), tmp_path
        )


def test_a_batch_too_large_to_read_is_refused(classifier):
    predictions, _ = batch(classifier, LARGEST_BATCH + 1)
    with pytest.raises(ValueError, match=f"too many for one PDF report. Choose {LARGEST_BATCH} at most"):
        make_batch_report(predictions, {}, classifier.model, "Too many", made=MADE)


LETTERS = st.characters(categories=("L", "N", "P", "S", "Zs", "Cc", "Cs", "Co", "Mn"))
READ_BACK = st.characters(max_codepoint=0x17F, categories=("Lu", "Ll", "Nd"))
FEW = settings(max_examples=5)  # a document each


@pytest.mark.slow
@FEW
@given(names=st.lists(st.text(LETTERS, min_size=1, max_size=300), min_size=5, max_size=9))
def test_any_file_name_can_stand_in_a_batch(classifier, names):
    predictions = [refused(classifier, name) for name in names]
    assert make_batch_report(predictions, {}, classifier.model, names[0], made=MADE).startswith(b"%PDF")


@pytest.mark.slow
@FEW
@given(names=st.lists(st.text(READ_BACK, min_size=1, max_size=12), min_size=5, max_size=9))
def test_file_names_are_read_back_from_the_document(classifier, tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("pages")
    document = make_batch_report(
        [refused(classifier, name) for name in names], {}, classifier.model, "Names", made=MADE
    )
    words = text_of(document, folder).split()
    assert set(names) <= set(words)
