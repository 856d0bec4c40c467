"""Page layout of the PDF reports: fonts, positions, colours, tables."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

from fpdf import FPDF
from fpdf.enums import TableBordersLayout
from fpdf.fonts import FontFace

from covid_monai.results.rendering import RgbImage, dejavu_path, encode_jpeg
from covid_monai.results.wording import ResultKind

_MARGIN, _WIDTH = 15, 180  # mm of A4
_IMAGE, _GAP = (88, 92), 4  # mm: largest width and height of an image, space between two
_ALERT, _DIM, _LINE = (170, 60, 0), (90, 90, 90), (190, 190, 190)
_PAGES = "\ue000" * 3  # stands for the number of pages; not printable, so no name contains it
# The colour of the words, and of their background; the words have the same meaning without them.
_COLOURS = {
    ResultKind.DECIDED: ((15, 50, 95), (228, 237, 247)),
    ResultKind.UNCERTAIN: ((120, 75, 0), (253, 243, 208)),
    ResultKind.NO_RESULT: ((150, 20, 20), (250, 230, 230)),
}
_LINES: dict[str, Any] = {"width": _WIDTH, "borders_layout": TableBordersLayout.HORIZONTAL_LINES}
_HEADINGS = ("No.", "Image", "File", "Result", "Probabilities", "Not excluded, or reason")
_COLUMNS = (9, 17, 50, 31, 32, 41)  # mm
_ROW_HEIGHT = 15  # mm at least, for the image


class ReportPage(FPDF):
    """An A4 page; its parts are written from top to bottom.

    Args:
        title: Title of the document.
        subject: Subject of the document.
        date: Creation date in the document, `YYYYMMDD`.
        fallback_fonts: Fonts for letters that DejaVu lacks.
    """

    def __init__(self, title: str, subject: str, date: str, fallback_fonts: Sequence[Path]) -> None:
        super().__init__(format="A4")
        self.set_creation_date(datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC))
        self.set_title(title)
        self.set_subject(subject)
        self.set_lang("en")
        self.set_margins(_MARGIN, 12, _MARGIN)
        self.set_auto_page_break(auto=False)
        self.add_font("dejavu", fname=dejavu_path())
        self.add_font("dejavu", style="B", fname=dejavu_path(bold=True))
        names = [f"fallback{number}" for number in range(len(fallback_fonts))]
        for name, path in zip(names, fallback_fonts, strict=True):
            self.add_font(name, fname=path)
        self.set_fallback_fonts(names, exact_match=False)
        # Of a whole line; Arabic and Hebrew within it still run from right to left.
        self.set_text_shaping(True, direction="ltr")
        self.alias_nb_pages(_PAGES)
        self.add_page()

    def add_heading(self, title: str, notice: str) -> None:
        """Write title and notice."""
        self.set_font("dejavu", "B", 15)
        self.cell(_WIDTH, 8, title, new_x="LMARGIN", new_y="NEXT")
        self._add_band(notice, 7, size=9.5, colours=(_ALERT, (255, 240, 225)))
        self.ln(2)

    def add_facts(self, facts: Mapping[str, str]) -> None:
        """Write names and values in two columns of pairs."""
        self.set_font("dejavu", "", 8.5)
        items = [(name, value or "not given") for name, value in facts.items()]
        with self.table(
            col_widths=(24, 66, 26, 64),
            width=_WIDTH,
            borders_layout=TableBordersLayout.NONE,
            first_row_as_headings=False,
            line_height=4.6,
            text_align="LEFT",
        ) as table:
            for pairs in zip_longest(items[::2], items[1::2], fillvalue=("", "")):
                row = table.row()
                for name, value in pairs:
                    row.cell(name, style=FontFace(color=_DIM))
                    row.cell(value)
        self.ln(2)

    def add_images(self, captioned: Sequence[tuple[str, RgbImage]]) -> None:
        """Place up to two images of one size side by side, each with its caption below."""
        rows, columns = captioned[0][1].shape[:2]
        scale = min(_IMAGE[0] / columns, _IMAGE[1] / rows)
        width, height, top = columns * scale, rows * scale, self.get_y()
        centring = (_IMAGE[0] + _GAP) / 2 if len(captioned) == 1 else 0
        self.set_text_color(*_DIM)
        self.set_font("dejavu", "", 8)
        for number, (caption, image) in enumerate(captioned):
            left = _MARGIN + centring + number * (_IMAGE[0] + _GAP)
            indent = (_IMAGE[0] - width) / 2
            content = io.BytesIO(encode_jpeg(image))
            self.image(content, left + indent, top, width, height, alt_text=caption)
            self.set_xy(left, top + height + 1)
            self.cell(_IMAGE[0], 4, caption, align="C")
        self.set_text_color(0)
        self.set_xy(_MARGIN, top + height + 7)

    def add_note(self, words: str) -> None:
        """Write a sentence where something else would be."""
        self.set_font("dejavu", "", 9.5)
        self.set_text_color(*_DIM)
        self.cell(_WIDTH, 12, words, new_x="LMARGIN", new_y="NEXT")
        self.set_text_color(0)

    def add_result(self, headline: str, sentences: str, kind: ResultKind) -> None:
        """Write the result, large and in its colours, and its explanation."""
        self._add_band(f"Result: {headline}", 9, size=14, colours=_COLOURS[kind])
        self.ln(1)
        self.set_font("dejavu", "", 9.5)
        self.multi_cell(_WIDTH, 4.8, sentences, align="L", new_x="LMARGIN", new_y="NEXT")
        self.ln(2)

    def add_numbers(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write a table with words on the left and numbers on the right."""
        self.set_font("dejavu", "", 9)
        self.set_draw_color(*_LINE)
        with self.table(
            **_LINES,
            col_widths=(60, 40, 40, 40),
            line_height=5,
            text_align=("LEFT", "RIGHT", "RIGHT", "RIGHT"),
            headings_style=FontFace(emphasis="B"),
        ) as table:
            for row in (headings, *rows):
                table.row(row)
        self.ln(2)

    def add_fine_print(self, paragraphs: Iterable[tuple[str, str]]) -> None:
        """Write paragraphs in small print, each after its name in bold."""
        for name, words in paragraphs:
            self.set_font("dejavu", "B", 8)
            self.write(3.9, f"{name} ")
            self.set_font("dejavu", "", 8)
            self.write(3.9, words)
            self.ln(5)

    def _add_band(
        self, words: str, height: float, *, size: float, colours: tuple[tuple[int, int, int], ...]
    ) -> None:
        """Write bold words on a coloured band over the whole width."""
        colour, background = colours
        self.set_font("dejavu", "B", size)
        self.set_text_color(*colour)
        self.set_fill_color(*background)
        self.cell(_WIDTH, height, words, fill=True, new_x="LMARGIN", new_y="NEXT")
        self.set_text_color(0)
        self.set_fill_color(255)


@dataclass(frozen=True)
class BatchRow:
    """One image of a batch report.

    Args:
        number: Number of the image, from 1.
        thumbnail: JPEG or PNG file, if there is one.
        file: Name of the file.
        result: Result in a few words.
        kind: Kind of the result.
        probabilities: One line per class; "" if the image was not classified.
        remark: Classes that are not excluded, or the reason of the result.
    """

    number: int
    thumbnail: bytes | None
    file: str
    result: str
    kind: ResultKind
    probabilities: str
    remark: str

    def with_file(self, file: str) -> "BatchRow":
        """Return the same image with another file name."""
        return replace(self, file=file)


class BatchPages(ReportPage):
    """A4 pages with a footer, as many as needed; arguments as for `ReportPage`."""

    def __init__(self, title: str, subject: str, date: str, fallback_fonts: Sequence[Path]) -> None:
        self._notice = subject
        super().__init__(title, subject, date, fallback_fonts)
        self.set_auto_page_break(auto=True, margin=16)

    def footer(self) -> None:
        """Write notice and page number; fpdf2 calls this for each page."""
        self.set_y(-12)
        self.set_font("dejavu", "", 7.5)
        self.set_text_color(*_DIM)
        self.cell(_WIDTH - 30, 5, self._notice)
        self.cell(30, 5, f"Page {self.page_no()} of {_PAGES}", align="R")
        self.set_text_color(0)

    def add_counts(self, counts: Iterable[tuple[str, int, ResultKind]]) -> None:
        """Write a table of results with the number of images of each."""
        self.set_font("dejavu", "", 9)
        self.set_draw_color(*_LINE)
        with self.table(
            **_LINES,
            col_widths=(150, 30),
            line_height=5,
            text_align=("LEFT", "RIGHT"),
            headings_style=FontFace(emphasis="B"),
        ) as table:
            table.row(("Result", "Images"))
            for words, count, kind in counts:
                row = table.row()
                row.cell(words, style=_face(kind))
                row.cell(str(count))
        self.ln(2)

    def add_rows(self, rows: Iterable[BatchRow]) -> None:
        """Write one row per image, on as many pages as needed, with the headings on each page."""
        self.set_font("dejavu", "", 7.5)
        self.set_draw_color(*_LINE)
        with self.table(
            **_LINES,
            col_widths=_COLUMNS,
            line_height=3.7,
            padding=1,
            text_align=("RIGHT", "CENTER", "LEFT", "LEFT", "LEFT", "LEFT"),
            headings_style=FontFace(emphasis="B"),
            min_row_height=_ROW_HEIGHT,
        ) as table:
            table.row(_HEADINGS, min_height=6)
            for image in rows:
                row = table.row(min_height=_ROW_HEIGHT)
                row.cell(str(image.number))
                row.cell(img=io.BytesIO(image.thumbnail)) if image.thumbnail else row.cell("none")
                row.cell(image.file)
                row.cell(image.result, style=_face(image.kind))
                if image.probabilities:
                    row.cell(image.probabilities)
                    row.cell(image.remark)
                else:
                    row.cell(image.remark, colspan=2)


def _face(kind: ResultKind) -> FontFace:
    colour, background = _COLOURS[kind]
    return FontFace(emphasis="B", color=colour, fill_color=background)
