"""The PDF report of many images: a summary, the model, and a table with thumbnails."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from covid_monai.core.number_format import format_percent
from covid_monai.core.vocabulary import RESEARCH_USE, Status
from covid_monai.inference.prediction import Prediction
from covid_monai.readers.image_files import common_folder
from covid_monai.results.pdf.fonts import fallback_fonts, spell_out
from covid_monai.results.pdf.image_report import LIMITS, MISSING_LETTERS, model_words, shorten_name
from covid_monai.results.pdf.layout import BatchPages, BatchRow
from covid_monai.results.wording import (
    ResultKind,
    ascii_text,
    capitalise,
    class_label,
    explained_class,
    finding,
    is_uncertain,
    percent,
    possible_classes,
    reason_sentence,
    reason_words,
    result_kind,
)

LARGEST_BATCH = 2000  # images: more make a document that no one reads, and that takes minutes to lay out
_STATUS_NAMES = {Status.OK: "Classified", Status.REFUSED: "Refused", Status.ERROR: "Not readable"}


def make_batch_report(
    predictions: Sequence[Prediction],
    thumbnails: Mapping[str, bytes] | None,
    model: Mapping[str, str],
    title: str,
) -> bytes:
    """Make the PDF report of many images.

    Args:
        predictions: Predictions of one classifier, of any status, in the order of the table.
        thumbnails: JPEG or PNG files by `Prediction.file`; an image without one gets none.
        model: `Classifier.model`.
        title: Title of the document.

    Returns:
        A PDF file.

    Raises:
        ValueError: If there are more predictions than a document can hold.
    """
    if len(predictions) > LARGEST_BATCH:
        raise ValueError(
            f"{len(predictions)} images are too many for one PDF report. Choose {LARGEST_BATCH} at most."
        )
    folder, today = common_folder([each.file for each in predictions]), datetime.now(UTC).date()
    rows = [_row(number, each, folder, thumbnails or {}) for number, each in enumerate(predictions, 1)]
    fonts = fallback_fonts("".join([title, folder, *(row.file for row in rows)]))
    rows = [row.with_file(spell_out(row.file, fonts)) for row in rows]
    title = spell_out(title, fonts)
    pdf = BatchPages(title, RESEARCH_USE, f"{today:%Y%m%d}", fonts)
    pdf.add_heading(title, RESEARCH_USE)
    facts = _summary(predictions) | {"Report made": f"{today}"} | ({"Folder": folder} if folder else {})
    pdf.add_facts({name: spell_out(value, fonts) for name, value in facts.items()})
    pdf.add_counts(_counts(predictions))
    pdf.add_fine_print(_fine_print(predictions, model))
    if any("[U+" in row.file for row in rows):
        pdf.add_fine_print([MISSING_LETTERS])
    pdf.add_rows(rows)
    return bytes(pdf.output())


def _summary(predictions: Sequence[Prediction]) -> dict[str, str]:
    statuses = Counter(each.status for each in predictions)
    numbers = {name: str(statuses[status]) for status, name in _STATUS_NAMES.items()}
    return {"Images": str(len(predictions))} | numbers


def _counts(predictions: Sequence[Prediction]) -> list[tuple[str, int, ResultKind]]:
    """Return the results with the number of images of each, classes first, in the order of the model."""
    classes = next((list(each.probabilities) for each in predictions if each.probabilities), [])
    order = [class_label(name) for name in classes]
    counts = Counter({(label, ResultKind.DECIDED): 0 for label in order})
    counts.update((_result(each), result_kind(each)) for each in predictions)

    def sort_key(item: tuple[tuple[str, ResultKind], int]) -> tuple[int, int, int]:
        (words, kind), count = item
        return kind.value, order.index(words) if words in order else len(order), -count

    return [(words, count, kind) for (words, kind), count in sorted(counts.items(), key=sort_key)]


def _result(prediction: Prediction) -> str:
    return finding(prediction) if prediction.ok else f"{finding(prediction)} ({reason_words(prediction)})"


def _row(number: int, prediction: Prediction, folder: str, thumbnails: Mapping[str, bytes]) -> BatchRow:
    return BatchRow(
        number=number,
        thumbnail=thumbnails.get(prediction.file),
        file=shorten_name(prediction.file.removeprefix(folder)),
        result=finding(prediction),
        kind=result_kind(prediction),
        probabilities="\n".join(
            f"{class_label(name)} {percent(prediction, name)}" for name in prediction.probabilities or {}
        ),
        remark=_remark(prediction),
    )


def _remark(prediction: Prediction) -> str:
    if not prediction.ok:
        return f"{capitalise(reason_words(prediction))}. {capitalise(reason_sentence(prediction))}"
    if is_uncertain(prediction):
        return capitalise(str((prediction.decision or {})["reason"]))
    not_excluded = f"Not excluded: {possible_classes(prediction)}"
    if prediction.decision is not None and explained_class(prediction) != prediction.predicted_class:
        return f"Decided by its threshold. {not_excluded}"
    return not_excluded


def _fine_print(predictions: Sequence[Prediction], model: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield "Model.", f"{model_words(model)} Computed by {model['backend']}."
    decision = next((each.decision for each in predictions if each.decision), None)
    if decision is None:
        yield "Operating point.", "None: the model decides nothing. The table shows the most probable class."
    else:
        thresholds = ", ".join(
            f"{class_label(name)} {format_percent(value)}" for name, value in decision["thresholds"].items()
        )
        yield "Operating point.", f"{ascii_text(decision['rule'])} Thresholds: {thresholds}."
    yield "No result.", "A refused or unreadable image has no result. This does not mean normal."
    yield "Limits.", " ".join(LIMITS)
