"""One page for a person, as PDF with text to select: film, heat map, result in words, numbers, limits."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime

from fpdf import FPDF
from fpdf.enums import TableBordersLayout
from fpdf.fonts import FontFace
from PIL import Image
from pydicom.dataset import Dataset

from covid_monai import __version__
from covid_monai.inference.heatmap import FilmHeatmap
from covid_monai.inference.prediction import Prediction
from covid_monai.readers.elements import text
from covid_monai.results.codes import ascii_text, class_label
from covid_monai.results.fonts import fallback_fonts, spell_out
from covid_monai.results.picture import Picture, dejavu, film_picture, overlay
from covid_monai.results.source import Source
from covid_monai.results.wording import finding, percent, possible_classes, result, shown_class
from covid_monai.vocabulary import RESEARCH_USE

_MARGIN, _WIDTH = 15, 180  # mm of A4
_PICTURE, _GAP = (88, 92), 4  # width and height at most, space between
_ALERT, _DIM, _LINE = (170, 60, 0), (90, 90, 90), (190, 190, 190)
_JPEG_QUALITY = 90
LIMITS = (
    "Not validated for clinical use, and not checked by a physician. Trained on public collections, where "
    "class and hospital go together: the model may have learned to tell hospitals apart.",
    "It knows the classes above and nothing else. A film called normal may show a nodule, a pneumothorax, a "
    "fracture or anything else.",
    "The heat map tells what moved the model, not where disease is. It is coarse, and relative to this film.",
)


def page(prediction: Prediction, explained: FilmHeatmap, source: Source) -> bytes:
    """Lay out the page.

    Args:
        prediction: With status ok.
        explained: Film and heat map of the class that is shown.
        source: Whose header names the patient.

    Returns:
        A PDF file; same arguments and fonts, same bytes.
    """
    facts = _facts(source.ds)
    words = "".join(facts.values())
    fonts = fallback_fonts(words)
    shown = {name: spell_out(value, fonts) for name, value in facts.items()}
    pdf = _Page(source, [str(path) for path in fonts])
    pdf.heading("Chest radiograph: automatic classification", RESEARCH_USE)
    pdf.facts(shown)
    pdf.pictures(explained, class_label(shown_class(prediction)))
    pdf.result(finding(prediction), result(prediction))
    pdf.numbers(prediction)
    pdf.small(_fine_print(prediction, source, complete=all(shown[name] == facts[name] for name in facts)))
    return bytes(pdf.output())


class _Page(FPDF):
    """A4 page with our fonts; the parts are written from top to bottom."""

    def __init__(self, source: Source, fallbacks: list[str]) -> None:
        super().__init__(format="A4")
        date = "".join(letter for letter in source.date if letter.isdigit())
        self.set_creation_date(datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC))
        self.set_title("Chest radiograph: automatic classification")
        self.set_subject(RESEARCH_USE)
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

    def pictures(self, explained: FilmHeatmap, label: str) -> None:
        """Film and heat map side by side, at the aspect ratio of the film."""
        captions = ("Film as displayed", f"Heat map (Grad-CAM): evidence for {label}")
        rows, columns = explained.film.shape
        scale = min(_PICTURE[0] / columns, _PICTURE[1] / rows)
        top = self.get_y()
        for number, picture in enumerate((film_picture(explained), overlay(explained))):
            left = _MARGIN + number * (_PICTURE[0] + _GAP)
            indent = (_PICTURE[0] - columns * scale) / 2
            self.image(
                _jpeg(picture), left + indent, top, columns * scale, rows * scale, alt_text=captions[number]
            )
            self.set_xy(left, top + rows * scale + 1)
            self.set_font("dejavu", "", 8)
            self.set_text_color(*_DIM)
            self.cell(_PICTURE[0], 4, captions[number], align="C")
        self.set_text_color(0)
        self.set_xy(_MARGIN, top + rows * scale + 7)

    def result(self, short: str, long: str) -> None:
        self.set_font("dejavu", "B", 14)
        self.cell(_WIDTH, 8, f"Result: {short}", new_x="LMARGIN", new_y="NEXT")
        self.set_font("dejavu", "", 9.5)
        self.multi_cell(_WIDTH, 4.8, long, align="L", new_x="LMARGIN", new_y="NEXT")
        self.ln(2)

    def numbers(self, prediction: Prediction) -> None:
        """One line a class: probability, threshold, whether it can be excluded."""
        thresholds = (prediction.decision or {}).get("thresholds", {})
        possible = prediction.prediction_set
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
            table.row(("Class", "Probability", "Threshold", "Can be excluded"))
            for name in prediction.probabilities or {}:
                excluded = "not known" if possible is None else "no" if name in possible else "yes"
                threshold = f"{thresholds[name]:.1%}".replace("%", " %") if name in thresholds else "none"
                table.row((class_label(name), percent(prediction, name), threshold, excluded))
        self.ln(2)

    def small(self, paragraphs: Iterator[tuple[str, str]]) -> None:
        for name, words in paragraphs:
            self.set_font("dejavu", "", 7.5)
            self.multi_cell(
                _WIDTH, 3.7, f"**{name}** {words}", align="L", markdown=True, new_x="LMARGIN", new_y="NEXT"
            )
            self.ln(0.8)


def _fine_print(prediction: Prediction, source: Source, *, complete: bool) -> Iterator[tuple[str, str]]:
    if prediction.decision is not None:
        yield "Operating point.", ascii_text(prediction.decision["rule"])
    if possible_classes(prediction) is not None:
        words = "A class is excluded if it is less probable than on most validation films of that class."
        yield "Not excluded:", f"{possible_classes(prediction)}. {words}"
    model = prediction.model
    yield (
        "Model.",
        ascii_text(
            f"{model['name']}, version {model['version']}, weights {model['weights_sha256'][:16]}, "
            f"preprocessing {model['preprocessing_digest'][:16]}, covid-monai {__version__}."
        ),
    )
    yield "Limits.", " ".join(LIMITS)
    yield "Film.", f"SOP Instance UID {source.reference.SOPInstanceUID}."
    if not complete:
        yield "Letters.", "No font here has the letters written as [U+...]: their Unicode numbers."


def _facts(ds: Dataset) -> dict[str, str]:
    """What tells whose film it is; values as they stand in the header, an even number of them."""
    return {
        "Patient": _name(ds),
        "Study date": _date(text(ds, "StudyDate")),
        "Patient ID": text(ds, "PatientID"),
        "Accession no.": text(ds, "AccessionNumber"),
        "Born": _date(text(ds, "PatientBirthDate")),
        "Study": text(ds, "StudyDescription"),
        "Sex": text(ds, "PatientSex"),
        "View": " ".join(filter(None, (text(ds, "Modality"), text(ds, "ViewPosition")))),
    }


def _name(ds: Dataset) -> str:
    """Family name first; where there are several scripts, ideographic (alphabetic).

    PS3.5 6.2.1.1: alphabetic=ideographic=phonetic, each family^given^middle^prefix^suffix.
    """
    alphabetic, ideographic, *_ = (*text(ds, "PatientName").split("="), "")
    alphabetic, ideographic = (
        " ".join(part for part in name.split("^") if part) for name in (alphabetic, ideographic)
    )
    return f"{ideographic} ({alphabetic})" if ideographic and alphabetic else ideographic or alphabetic


def _date(value: str) -> str:
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value


def _jpeg(picture: Picture) -> io.BytesIO:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
    buffer.seek(0)
    return buffer
