"""How the page for a person looks: fonts, places, tables."""

import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import TableBordersLayout
from fpdf.fonts import FontFace
from PIL import Image

from covid_monai.results.picture import Picture, dejavu

_MARGIN, _WIDTH = 15, 180  # mm of A4
_PICTURE, _GAP = (88, 92), 4  # width and height at most, space between
_ALERT, _DIM, _LINE = (170, 60, 0), (90, 90, 90), (190, 190, 190)
_JPEG_QUALITY = 90


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
        self.set_margins(_MARGIN, 12, _MARGIN)
        self.set_auto_page_break(auto=False)
        self.add_font("dejavu", fname=dejavu())
        self.add_font("dejavu", style="B", fname=dejavu(bold=True))
        for number, path in enumerate(fallbacks):
            self.add_font(f"fallback{number}", fname=path)
        self.set_fallback_fonts([f"fallback{number}" for number in range(len(fallbacks))], exact_match=False)
        self.set_text_shaping(True)
        self.add_page()

    def heading(self, title: str, notice: str) -> None:
        """Write title and notice."""
        self.set_font("dejavu", "B", 15)
        self.cell(_WIDTH, 8, title, new_x="LMARGIN", new_y="NEXT")
        self.set_fill_color(255, 240, 225)
        self.set_text_color(*_ALERT)
        self.set_font("dejavu", "B", 9.5)
        self.cell(_WIDTH, 7, notice, fill=True, new_x="LMARGIN", new_y="NEXT")
        self.set_text_color(0)
        self.set_fill_color(255)
        self.ln(2)

    def facts(self, facts: dict[str, str]) -> None:
        """Names and values in two columns of pairs."""
        self.set_font("dejavu", "", 8.5)
        items = [(name, value or "not given") for name, value in facts.items()]
        dim = FontFace(color=_DIM)
        with self.table(
            col_widths=(24, 66, 26, 64),
            width=_WIDTH,
            borders_layout=TableBordersLayout.NONE,
            first_row_as_headings=False,
            line_height=4.6,
            text_align="LEFT",
        ) as table:
            for left, right in zip(items[::2], items[1::2], strict=True):
                row = table.row()
                for name, value in (left, right):
                    row.cell(name, style=dim)
                    row.cell(value)
        self.ln(2)

    def pictures(self, *captioned: tuple[str, Picture]) -> None:
        """Two pictures of one size side by side, each with what it shows below."""
        rows, columns = captioned[0][1].shape[:2]
        scale = min(_PICTURE[0] / columns, _PICTURE[1] / rows)
        width, height, top = columns * scale, rows * scale, self.get_y()
        self.set_text_color(*_DIM)
        self.set_font("dejavu", "", 8)
        for number, (caption, picture) in enumerate(captioned):
            left = _MARGIN + number * (_PICTURE[0] + _GAP)
            indent = (_PICTURE[0] - width) / 2
            self.image(_jpeg(picture), left + indent, top, width, height, alt_text=caption)
            self.set_xy(left, top + height + 1)
            self.cell(_PICTURE[0], 4, caption, align="C")
        self.set_text_color(0)
        self.set_xy(_MARGIN, top + height + 7)

    def result(self, short: str, long: str) -> None:
        """Write the result, large, and what it means."""
        self.set_font("dejavu", "B", 14)
        self.cell(_WIDTH, 8, f"Result: {short}", new_x="LMARGIN", new_y="NEXT")
        self.set_font("dejavu", "", 9.5)
        self.multi_cell(_WIDTH, 4.8, long, align="L", new_x="LMARGIN", new_y="NEXT")
        self.ln(2)

    def numbers(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table: words to the left, numbers to the right."""
        self.set_font("dejavu", "", 9)
        self.set_draw_color(*_LINE)
        with self.table(
            col_widths=(60, 40, 40, 40),
            width=_WIDTH,
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
            self.set_font("dejavu", "B", 7.5)
            self.write(3.7, f"{name} ")
            self.set_font("dejavu", "", 7.5)
            self.write(3.7, words)
            self.ln(4.5)


def _jpeg(picture: Picture) -> io.BytesIO:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
    buffer.seek(0)
    return buffer
