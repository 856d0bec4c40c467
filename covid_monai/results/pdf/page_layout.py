"""How the pages for a person look: fonts, places, tables."""

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import TableBordersLayout
from fpdf.fonts import FontFace

from covid_monai.results.rendering import Picture, dejavu, jpeg
from covid_monai.results.wording import Tone

MARGIN, WIDTH = 15, 180  # mm of A4
_PICTURE, _GAP = (88, 92), 4  # width and height at most, space between
_ALERT, DIM, LINE = (170, 60, 0), (90, 90, 90), (190, 190, 190)
PAGES = "\ue000" * 3  # stands for the number of pages; no name can hold it, as it is not printable
# The colour of the words, and of what lies behind them; the words say the same without it.
TONES = {
    Tone.DECIDED: ((15, 50, 95), (228, 237, 247)),
    Tone.UNCERTAIN: ((120, 75, 0), (253, 243, 208)),
    Tone.NO_RESULT: ((150, 20, 20), (250, 230, 230)),
}


class Page(FPDF):
    """An A4 page; its parts are written from top to bottom.

    Args:
        title: Of the document.
        subject: Of the document.
        date: When it says that it was made, `YYYYMMDD`.
        fallbacks: Fonts for letters that DejaVu has not.
    """

    def __init__(self, title: str, subject: str, date: str, fallbacks: Sequence[Path]) -> None:
        super().__init__(format="A4")
        self.set_creation_date(datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC))
        self.set_title(title)
        self.set_subject(subject)
        self.set_lang("en")
        self.set_margins(MARGIN, 12, MARGIN)
        self.set_auto_page_break(auto=False)
        self.add_font("dejavu", fname=dejavu())
        self.add_font("dejavu", style="B", fname=dejavu(bold=True))
        for number, path in enumerate(fallbacks):
            self.add_font(f"fallback{number}", fname=path)
        self.set_fallback_fonts([f"fallback{number}" for number in range(len(fallbacks))], exact_match=False)
        self.set_text_shaping(True, direction="ltr")  # of a line; Arabic and Hebrew in it run their own way
        self.alias_nb_pages(PAGES)
        self.add_page()

    def heading(self, title: str, notice: str) -> None:
        """Write title and notice."""
        self.set_font("dejavu", "B", 15)
        self.cell(WIDTH, 8, title, new_x="LMARGIN", new_y="NEXT")
        self.set_fill_color(255, 240, 225)
        self.set_text_color(*_ALERT)
        self.set_font("dejavu", "B", 9.5)
        self.cell(WIDTH, 7, notice, fill=True, new_x="LMARGIN", new_y="NEXT")
        self.set_text_color(0)
        self.set_fill_color(255)
        self.ln(2)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Names and values in two columns of pairs."""
        self.set_font("dejavu", "", 8.5)
        items = [(name, value or "not given") for name, value in facts.items()]
        dim = FontFace(color=DIM)
        with self.table(
            col_widths=(24, 66, 26, 64),
            width=WIDTH,
            borders_layout=TableBordersLayout.NONE,
            first_row_as_headings=False,
            line_height=4.6,
            text_align="LEFT",
        ) as table:
            for left, right in zip_longest(items[::2], items[1::2], fillvalue=("", "")):
                row = table.row()
                for name, value in (left, right):
                    row.cell(name, style=dim)
                    row.cell(value)
        self.ln(2)

    def pictures(self, captioned: Sequence[tuple[str, Picture]]) -> None:
        """Up to two pictures of one size side by side, each with what it shows below."""
        rows, columns = captioned[0][1].shape[:2]
        scale = min(_PICTURE[0] / columns, _PICTURE[1] / rows)
        width, height, top = columns * scale, rows * scale, self.get_y()
        alone = (_PICTURE[0] + _GAP) / 2 if len(captioned) == 1 else 0
        self.set_text_color(*DIM)
        self.set_font("dejavu", "", 8)
        for number, (caption, picture) in enumerate(captioned):
            left = MARGIN + alone + number * (_PICTURE[0] + _GAP)
            indent = (_PICTURE[0] - width) / 2
            self.image(io.BytesIO(jpeg(picture)), left + indent, top, width, height, alt_text=caption)
            self.set_xy(left, top + height + 1)
            self.cell(_PICTURE[0], 4, caption, align="C")
        self.set_text_color(0)
        self.set_xy(MARGIN, top + height + 7)

    def note(self, words: str) -> None:
        """Write a sentence where something else would stand."""
        self.set_font("dejavu", "", 9.5)
        self.set_text_color(*DIM)
        self.cell(WIDTH, 12, words, new_x="LMARGIN", new_y="NEXT")
        self.set_text_color(0)

    def result(self, short: str, long: str, tone: Tone) -> None:
        """Write the result, large and in its colours, and what it means."""
        colour, ground = TONES[tone]
        self.set_font("dejavu", "B", 14)
        self.set_text_color(*colour)
        self.set_fill_color(*ground)
        self.cell(WIDTH, 9, f"Result: {short}", fill=True, new_x="LMARGIN", new_y="NEXT")
        self.set_text_color(0)
        self.set_fill_color(255)
        self.ln(1)
        self.set_font("dejavu", "", 9.5)
        self.multi_cell(WIDTH, 4.8, long, align="L", new_x="LMARGIN", new_y="NEXT")
        self.ln(2)

    def numbers(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table: words to the left, numbers to the right."""
        self.set_font("dejavu", "", 9)
        self.set_draw_color(*LINE)
        with self.table(
            col_widths=(60, 40, 40, 40),
            width=WIDTH,
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            line_height=5,
            text_align=("LEFT", "RIGHT", "RIGHT", "RIGHT"),
            headings_style=FontFace(emphasis="B"),
        ) as table:
            for row in (headings, *rows):
                table.row(row)
        self.ln(2)

    def small(self, paragraphs: Iterable[tuple[str, str]]) -> None:
        """Write paragraphs in small print, each after its name in bold."""
        for name, words in paragraphs:
            self.set_font("dejavu", "B", 8)
            self.write(3.9, f"{name} ")
            self.set_font("dejavu", "", 8)
            self.write(3.9, words)
            self.ln(5)
