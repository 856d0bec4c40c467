"""Page layout of the PDF reports, as poppler reads it."""

import re

import numpy as np
import pytest
from results_helpers import MADE, NEEDS_POPPLER, run, text_of

from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.inference.wording import ResultKind
from covid_monai.results.pdf.layout import ReportPages, result_cell

pytestmark = NEEDS_POPPLER


def pages(words="", *, several=False, title="A title"):
    return ReportPages(title, MADE, words, several=several)


def saved(report, folder):
    (folder / "page.pdf").write_bytes(bytes(report.output()))
    return folder / "page.pdf"


def test_a_page_has_title_notice_date_and_language(tmp_path):
    path = saved(pages(), tmp_path)
    text = text_of(path.read_bytes(), tmp_path)
    assert "A title" in text
    assert RESEARCH_USE in text
    information = run("pdfinfo", "-isodates", path).decode()
    assert f"Subject:         {RESEARCH_USE}" in information
    assert "CreationDate:    2026-11-30T15:04:05" in information.replace("+00:00", "").replace("Z", "")
    assert "A4" in information
    assert b"/Lang (en)" in path.read_bytes()


def test_the_same_words_give_the_same_bytes():
    assert bytes(pages().output()) == bytes(pages().output())


def test_facts_stand_in_pairs_and_an_empty_one_is_not_given(tmp_path):
    report = pages()
    report.add_facts({"Patient": "Doe Jane", "View": "", "Sex": "F"})
    text = text_of(bytes(report.output()), tmp_path)
    assert "Patient Doe Jane View not given Sex F" in text


def test_letters_that_no_font_has_are_spelled_out_and_explained_once_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("covid_monai.results.pdf.layout.fallback_fonts", lambda _: [])
    report = pages()
    assert report.spell_out("a王b\n") == "a[U+738B]b "
    report.add_facts({"Patient": "王"})
    report.add_fine_print({"Limits.": "Some."})
    text = text_of(bytes(report.output()), tmp_path)
    assert "Patient [U+738B]" in text
    assert "Limits. Some." in text
    assert text.count("is the Unicode number of a letter that no font on this machine has") == 1
    plain = pages()
    plain.add_fine_print({"Limits.": "Some."})
    assert "Unicode" not in text_of(bytes(plain.output()), tmp_path)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_images_stand_side_by_side_each_with_its_caption(tmp_path, count):
    image = np.zeros((200, 100, 3), np.uint8)
    report = pages()
    top = report.get_y()
    report.add_images([(f"Caption {number}", image) for number in range(count)])
    path = saved(report, tmp_path)
    text = text_of(path.read_bytes(), tmp_path)
    assert ("There is no image to display." in text) == (count == 0)
    assert [number for number in range(3) if f"Caption {number}" in text] == list(range(count))
    assert len(run("pdfimages", "-list", path).decode().splitlines()) - 2 == count
    if count:
        assert report.get_y() - top == pytest.approx(92 + 7), "the height of the largest image in mm"


def test_a_wide_image_is_limited_by_its_width():
    report = pages()
    top = report.get_y()
    report.add_images([("Wide", np.zeros((100, 400, 3), np.uint8))])
    assert report.get_y() - top == pytest.approx(88 / 4 + 7)


def test_a_long_table_has_its_headings_and_the_number_on_each_page(tmp_path):
    report = pages(several=True)
    rows = [("File", "Result"), *((f"image {number}", "Normal") for number in range(120))]
    report.add_table(rows, (90, 90), row_height=8)
    path = saved(report, tmp_path)
    count = report.page_no()
    assert count > 2
    text = run("pdftotext", "-layout", path, "-").decode()
    sheets = text.split("\f")[:count]
    for number, sheet in enumerate(sheets, 1):
        assert "Result" in sheet
        assert f"Page {number} of {count}" in sheet
        assert RESEARCH_USE in sheet
    assert re.findall(r"image (\d+)", text) == [str(number) for number in range(120)]


def test_a_single_page_has_no_number(tmp_path):
    assert "Page 1" not in text_of(bytes(pages().output()), tmp_path)


@pytest.mark.parametrize("kind", ResultKind)
def test_a_result_is_said_and_its_colours_are_those_of_its_cells(tmp_path, kind):
    report = pages()
    report.add_result("Headline", "Why it is so.", kind)
    assert "Result: Headline Why it is so." in text_of(bytes(report.output()), tmp_path)
    others = [result_cell("x", other)["style"] for other in ResultKind if other is not kind]
    style = result_cell("x", kind)["style"]
    assert all((style.color, style.fill_color) != (other.color, other.fill_color) for other in others)
    assert result_cell("x", kind)["text"] == "x"
