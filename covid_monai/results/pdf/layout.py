"""Page layout of the PDF reports: fonts, positions, colours, tables."""

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Any

from fpdf import FPDF
from fpdf.enums import TableBordersLayout
from fpdf.fonts import FontFace

from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.inference.wording import ResultKind
from covid_monai.results.pdf.fonts import fallback_fonts, spell_out
from covid_monai.results.rendering import RgbImage, dejavu_path, encode_jpeg

_MARGIN, _WIDTH = 15, 180  # mm of A4
_IMAGE, _GAP = (88, 92), 4  # mm: largest width and height of an image, space between two
_ALERT = ((170, 60, 0), (255, 240, 225))
_DIM, _LINE = (90, 90, 90), (190, 190, 190)
_PAGES = "\ue000" * 3  # stands for the number of pages; not printable, so no name contains it
# The colour of the words, and of their background; the words have the same meaning without them.
_COLOURS = {
    ResultKind.DECIDED: ((15, 50, 95), (228, 237, 247)),
    ResultKind.UNCERTAIN: ((120, 75, 0), (253, 243, 208)),
    ResultKind.NO_RESULT: ((150, 20, 20), (250, 230, 230)),
}
Cell = str | Mapping[str, Any]  # words, or arguments of fpdf2's `Row.cell`


class ReportPages(FPDF):
    """A4 pages with a heading and the notice; their parts are written from top to bottom.

    Args:
        title: Title of the document.
        made: Creation date in the document, with a time zone.
        words: All words in any script, for which fonts are looked for.
        several: Whether the document has as many pages as needed, each with its number, or one page.
    """

    def __init__(self, title: str, made: datetime, words: str, *, several: bool) -> None:
        super().__init__(format="A4")
        self._fonts, self._several = fallback_fonts(title + words), several
        self._letters_missing = False
        title = self.spell_out(title)
        self.set_creation_date(made)
        self.set_title(title)
        self.set_subject(RESEARCH_USE)
        self.set_lang("en")
        self.set_margins(_MARGIN, 12, _MARGIN)
        self.set_auto_page_break(several, margin=16)
        self.add_font("dejavu", fname=dejavu_path())
        self.add_font("dejavu", style="B", fname=dejavu_path(bold=True))
        for path in self._fonts:
            self.add_font(str(path), fname=path)
        self.set_fallback_fonts([str(path) for path in self._fonts], exact_match=False)
        # Of a whole line; Arabic and Hebrew within it still run from right to left.
        self.set_text_shaping(True, direction="ltr")
        self.alias_nb_pages(_PAGES)
        self.add_page()
        self.set_font("dejavu", "B", 15)
        self.cell(_WIDTH, 8, title, new_x="LMARGIN", new_y="NEXT")
        self._add_band(RESEARCH_USE, 7, size=9.5, colours=_ALERT)
        self.ln(2)

    def spell_out(self, words: str) -> str:
        """Replace letters that no font has; `add_fine_print` then explains it."""
        spelled = spell_out(words, self._fonts)
        self._letters_missing |= "[U+" in spelled
        return spelled

    def footer(self) -> None:
        """Write notice and page number; fpdf2 calls this for each page."""
        if self._several:
            self.set_y(-12)
            self._set_dim_font(7.5)
            self.cell(_WIDTH - 30, 5, RESEARCH_USE)
            self.cell(30, 5, f"Page {self.page_no()} of {_PAGES}", align="R")
            self.set_text_color(0)

    def add_facts(self, facts: Mapping[str, str]) -> None:
        """Write names and values, which may be in any script, in two columns of pairs."""
        items = [
            ({"text": name, "style": FontFace(color=_DIM)}, self.spell_out(value or "not given"))
            for name, value in facts.items()
        ]
        pairs = zip_longest(items[::2], items[1::2], fillvalue=("", ""))
        self.add_table(
            [(*left, *right) for left, right in pairs],
            (24, 66, 26, 64),
            text_align="LEFT",
            font_size=8.5,
            line_height=4.6,
            borders_layout=TableBordersLayout.NONE,
            first_row_as_headings=False,
        )

    def add_table(
        self,
        rows: Iterable[Sequence[Cell]],
        widths: tuple[float, ...],
        *,
        font_size: float = 9,
        row_height: float | None = None,
        **layout: Any,
    ) -> None:
        """Write a table with horizontal lines, with its headings on each page.

        Args:
            rows: Headings, then rows, with one cell for each column.
            widths: Widths of the columns in mm; their sum is 180.
            font_size: Size of the letters in points.
            row_height: Least height of a row below the headings in mm.
            layout: Arguments of fpdf2's `table`.
        """
        self.set_font("dejavu", "", font_size)
        self.set_draw_color(*_LINE)
        defaults = {
            "borders_layout": TableBordersLayout.HORIZONTAL_LINES,
            "line_height": 5,
            "headings_style": FontFace(emphasis="B"),
        }
        with self.table(width=_WIDTH, col_widths=widths, **(defaults | layout)) as table:
            for number, cells in enumerate(rows):
                row = table.row(min_height=row_height if number else None)
                for cell in cells:
                    row.cell(**({"text": cell} if isinstance(cell, str) else cell))
        self.ln(2)

    def add_images(self, captioned: Sequence[tuple[str, RgbImage]]) -> None:
        """Place up to two images of one size side by side, each with its caption below."""
        if not captioned:
            self._set_dim_font(9.5)
            self.cell(_WIDTH, 12, "There is no image to display.", new_x="LMARGIN", new_y="NEXT")
            self.set_text_color(0)
            return
        rows, columns = captioned[0][1].shape[:2]
        scale = min(_IMAGE[0] / columns, _IMAGE[1] / rows)
        width, height, top = columns * scale, rows * scale, self.get_y()
        left = _MARGIN + ((_IMAGE[0] + _GAP) / 2 if len(captioned) == 1 else 0)
        self._set_dim_font(8)
        for caption, image in captioned:
            content = io.BytesIO(encode_jpeg(image))
            self.image(content, left + (_IMAGE[0] - width) / 2, top, width, height, alt_text=caption)
            self.set_xy(left, top + height + 1)
            self.cell(_IMAGE[0], 4, caption, align="C")
            left += _IMAGE[0] + _GAP
        self.set_text_color(0)
        self.set_xy(_MARGIN, top + height + 7)

    def add_result(self, headline: str, sentences: str, kind: ResultKind) -> None:
        """Write the result, large and in its colours, and its explanation."""
        self._add_band(f"Result: {headline}", 9, size=14, colours=_COLOURS[kind])
        self.ln(1)
        self.set_font("dejavu", "", 9.5)
        self.multi_cell(_WIDTH, 4.8, sentences, align="L", new_x="LMARGIN", new_y="NEXT")
        self.ln(2)

    def add_fine_print(self, paragraphs: Mapping[str, str]) -> None:
        """Write paragraphs in small print, each after its name in bold."""
        if self._letters_missing:
            words = "[U+...] is the Unicode number of a letter that no font on this machine has."
            paragraphs = {**paragraphs, "Letters.": words}
        for name, words in paragraphs.items():
            self.set_font("dejavu", "B", 8)
            self.write(3.9, f"{name} ")
            self.set_font("dejavu", "", 8)
            self.write(3.9, words)
            self.ln(5)

    def _set_dim_font(self, size: float) -> None:
        self.set_font("dejavu", "", size)
        self.set_text_color(*_DIM)

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


def result_cell(words: str, kind: ResultKind) -> Cell:
    """Return a cell of a table with a result in its colours."""
    colour, background = _COLOURS[kind]
    return {"text": words, "style": FontFace(emphasis="B", color=colour, fill_color=background)}
