"""The PDF report of many images: a summary, the model, and a table with thumbnails."""

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from covid_monai.core.number_format import format_percent
from covid_monai.core.vocabulary import Status
from covid_monai.inference import wording
from covid_monai.inference.prediction import Prediction
from covid_monai.readers.image_files import common_folder
from covid_monai.results.pdf.image_report import LIMITS, model_words, shorten_name
from covid_monai.results.pdf.layout import Cell, ReportPages, result_cell

LARGEST_BATCH = 2000  # images: more make a document that no one reads, and that takes minutes to lay out
_HEADINGS = ("No.", "Image", "File", "Result", "Probabilities", "Not excluded, or reason")
_COLUMNS = (9, 17, 50, 31, 32, 41)  # mm
_ROW_HEIGHT = 15  # mm at least, for the image


def make_batch_report(
    predictions: Sequence[Prediction],
    thumbnails: Mapping[str, bytes | None],
    model: Mapping[str, str],
    title: str,
    *,
    made: datetime,
) -> bytes:
    """Make the PDF report of many images.

    Args:
        predictions: Predictions of one classifier, of any status, in the order of the table.
        thumbnails: JPEG or PNG files by `Prediction.file`; an image without one gets none.
        model: `Classifier.model`.
        title: Title of the document.
        made: Time of making, with a time zone.

    Returns:
        A PDF file.

    Raises:
        ValueError: If there are more predictions than a document can hold.
    """
    if len(predictions) > LARGEST_BATCH:
        raise ValueError(
            f"{len(predictions)} images are too many for one PDF report. Choose {LARGEST_BATCH} at most."
        )
    folder = common_folder([each.file for each in predictions])
    names = [shorten_name(each.file.removeprefix(folder)) for each in predictions]
    pages = ReportPages(title, made, "".join([folder, *names]), several=True)
    names = [pages.spell_out(name) for name in names]
    statuses = Counter(each.status for each in predictions)
    facts = {
        "Images": str(len(predictions)),
        "Classified": str(statuses[Status.OK]),
        "Refused": str(statuses[Status.REFUSED]),
        "Not readable": str(statuses[Status.ERROR]),
        "Report made": f"{made:%Y-%m-%d}",
    }
    pages.add_facts(facts | ({"Folder": folder} if folder else {}))
    pages.add_table([("Result", "Images"), *_counts(predictions)], (150, 30), text_align=("LEFT", "RIGHT"))
    pages.add_fine_print(_fine_print(predictions, model))
    rows = [
        (str(number), _thumbnail(thumbnails.get(each.file)), name, *_outcome(each))
        for number, (name, each) in enumerate(zip(names, predictions, strict=True), 1)
    ]
    pages.add_table(
        [_HEADINGS, *rows],
        _COLUMNS,
        font_size=7.5,
        row_height=_ROW_HEIGHT,
        line_height=3.7,
        padding=1,
        text_align=("RIGHT", "CENTER", "LEFT", "LEFT", "LEFT", "LEFT"),
    )
    return bytes(pages.output())


def _counts(predictions: Sequence[Prediction]) -> Iterator[tuple[Cell, Cell]]:
    """Yield results with the number of images of each, the usual ones first: normal, or the first class."""
    classes = next((list(each.probabilities) for each in predictions if each.probabilities), [])
    levels = any(each.abnormal for each in predictions)
    order = list(wording.MAIN_FINDINGS) if levels else [wording.class_label(name) for name in classes]
    counts = Counter({(label, wording.ResultKind.DECIDED): 0 for label in order})
    for each in predictions:
        words = wording.finding(each) + ("" if each.ok else f" ({wording.reason_words(each)})")
        counts[words, wording.result_kind(each)] += 1

    def sort_key(item: tuple[tuple[str, wording.ResultKind], int]) -> tuple[int, int, int]:
        (words, kind), count = item
        return kind.value, order.index(words) if words in order else len(order), -count

    for (words, kind), count in sorted(counts.items(), key=sort_key):
        yield result_cell(words, kind), str(count)


def _thumbnail(content: bytes | None) -> Cell:
    return {"img": io.BytesIO(content)} if content else "none"


def _outcome(prediction: Prediction) -> Iterator[Cell]:
    """Yield the cells of result, probabilities, and classes that are not excluded or the reason."""
    yield result_cell(wording.finding(prediction), wording.result_kind(prediction))
    if not prediction.ok:
        reasons = (wording.reason_words(prediction), wording.reason_sentence(prediction))
        yield {"text": ". ".join(map(wording.capitalise, reasons)), "colspan": 2}
        return
    probabilities = (
        f"{wording.class_label(name)} {wording.percent(prediction, name)}"
        for name in prediction.probabilities or {}
    )
    yield "\n".join(probabilities)
    not_excluded = f"Not excluded: {wording.possible_classes(prediction)}"
    if words := wording.level_reason(prediction):
        yield words
    elif (
        prediction.abnormal is None
        and prediction.decision
        and wording.explained_class(prediction) != prediction.predicted_class
    ):
        yield f"Decided by its threshold. {not_excluded}"
    else:
        yield not_excluded


def _fine_print(predictions: Sequence[Prediction], model: Mapping[str, str]) -> dict[str, str]:
    decision = next((each.decision for each in predictions if each.decision), None)
    rule = "None: the model decides nothing. The table shows the most probable class."
    if decision is not None:
        thresholds = ", ".join(
            f"{wording.class_label(name)} {format_percent(value)}"
            for name, value in decision["thresholds"].items()
        )
        rule = f"{wording.ascii_text(decision['rule'])} Thresholds: {thresholds}."
    unseen = next(filter(None, map(wording.unseen_sentence, predictions)), None)
    return {
        "Model.": f"{model_words(model)} Computed by {model['backend']}.",
        **({"Abnormal.": unseen} if unseen else {}),
        "Operating point.": rule,
        "No result.": "A refused or unreadable image has no result. This does not mean normal.",
        "Limits.": LIMITS,
    }
