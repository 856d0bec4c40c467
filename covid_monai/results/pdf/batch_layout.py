"""How the report of many images looks: a summary, a table with small pictures, a foot on each page."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fpdf.enums import TableBordersLayout
from fpdf.fonts import FontFace

from covid_monai.results.pdf.page_layout import DIM, LINE, PAGES, TONES, WIDTH, Page
from covid_monai.results.wording import Tone

_HEADINGS = ("No.", "Image", "File", "Result", "Probabilities", "Not excluded, or reason")
_WIDTHS = (9, 17, 50, 31, 32, 41)
_ROW_HEIGHT = 15  # mm at least, for the picture


@dataclass(frozen=True)
class Row:
    """One image.

    Args:
        number: From 1.
        thumbnail: A JPEG or PNG file, if there is one.
        file: Its name.
        result: In a few words.
        tone: Which kind of result it is.
        probabilities: A line per class; "" if it was not classified.
        remark: What else must be said of it.
    """

    number: int
    thumbnail: bytes | None
    file: str
    result: str
    tone: Tone
    probabilities: str
    remark: str

    def with_file(self, file: str) -> "Row":
        """The same image under another name."""
        return replace(self, file=file)


class BatchPages(Page):
    """A4 pages that follow each other; arguments as for `Page`."""

    def __init__(self, title: str, subject: str, date: str, fallbacks: Sequence[Path]) -> None:
        self._foot = subject
        super().__init__(title, subject, date, fallbacks)
        self.set_auto_page_break(auto=True, margin=16)

    def footer(self) -> None:
        """Write notice and page number; called by fpdf2 for each page."""
        self.set_y(-12)
        self.set_font("dejavu", "", 7.5)
        self.set_text_color(*DIM)
        self.cell(WIDTH - 30, 5, self._foot)
        self.cell(30, 5, f"Page {self.page_no()} of {PAGES}", align="R")
        self.set_text_color(0)

    def counts(self, counts: Iterable[tuple[str, int, Tone]]) -> None:
        """A table of results and of how many images have each."""
        self.set_font("dejavu", "", 9)
        self.set_draw_color(*LINE)
        with self.table(
            col_widths=(150, 30),
            width=WIDTH,
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            line_height=5,
            text_align=("LEFT", "RIGHT"),
            headings_style=FontFace(emphasis="B"),
        ) as table:
            table.row(("Result", "Images"))
            for words, count, tone in counts:
                row = table.row()
                row.cell(words, style=_face(tone))
                row.cell(str(count))
        self.ln(2)

    def images(self, rows: Iterable[Row]) -> None:
        """A row per image, on as many pages as needed, the headings on each."""
        self.set_font("dejavu", "", 7.5)
        self.set_draw_color(*LINE)
        with self.table(
            col_widths=_WIDTHS,
            width=WIDTH,
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
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
                row.cell(image.result, style=_face(image.tone))
                if image.probabilities:
                    row.cell(image.probabilities)
                    row.cell(image.remark)
                else:
                    row.cell(image.remark, colspan=2)


def _face(tone: Tone) -> FontFace:
    colour, ground = TONES[tone]
    return FontFace(emphasis="B", color=colour, fill_color=ground)
