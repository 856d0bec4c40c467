"""Many images in one PDF: what became of them in all, of what model, and a table with small pictures."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from covid_monai.core.vocabulary import RESEARCH_USE, Status
from covid_monai.inference.prediction import Prediction
from covid_monai.readers.image_files import common_folder
from covid_monai.results.dicom.codes import ascii_text, class_label
from covid_monai.results.pdf.batch_layout import BatchPages, Row
from covid_monai.results.pdf.fonts import fallback_fonts, spell_out
from covid_monai.results.pdf.image_page import shortened
from covid_monai.results.pdf.page import LETTERS, LIMITS, model_words
from covid_monai.results.wording import (
    Tone,
    finding,
    is_uncertain,
    percent,
    possible_classes,
    reason,
    reason_detail,
    sentence,
    shown_class,
    tone,
)

LARGEST_BATCH = 2000  # images: more make a document that no one reads, and that takes minutes to lay out
_SUBTITLES = {Status.OK: "Classified", Status.REFUSED: "Refused", Status.ERROR: "Not readable"}


def batch_page(
    predictions: Sequence[Prediction],
    thumbnails: Mapping[str, bytes] | None,
    model: Mapping[str, str],
    title: str,
) -> bytes:
    """Lay out a report of many images: a summary, then a table over as many pages as it needs.

    Args:
        predictions: Of one classifier, in the order of the table; of any status.
        thumbnails: JPEG or PNG files by `Prediction.file`; where one is missing, its place stays empty.
        model: As `Classifier.model`.
        title: Of the document.

    Returns:
        A PDF file.

    Raises:
        ValueError: If there are more predictions than a document can hold.
    """
    if len(predictions) > LARGEST_BATCH:
        raise ValueError(f"{len(predictions)} images: one report holds {LARGEST_BATCH} at most.")
    folder, today = common_folder([each.file for each in predictions]), datetime.now(UTC).date()
    rows = [_row(number, each, folder, thumbnails or {}) for number, each in enumerate(predictions, 1)]
    fonts = fallback_fonts("".join([title, folder, *(row.file for row in rows)]))
    rows = [row.with_file(spell_out(row.file, fonts)) for row in rows]
    title = spell_out(title, fonts)
    pdf = BatchPages(title, RESEARCH_USE, f"{today:%Y%m%d}", fonts)
    pdf.heading(title, RESEARCH_USE)
    facts = _summary(predictions) | {"Report made": f"{today}"} | ({"Folder": folder} if folder else {})
    pdf.facts({name: spell_out(value, fonts) for name, value in facts.items()})
    pdf.counts(_counts(predictions))
    pdf.small(_fine_print(predictions, model))
    if any("[U+" in row.file for row in rows):
        pdf.small([LETTERS])
    pdf.images(rows)
    return bytes(pdf.output())


def _summary(predictions: Sequence[Prediction]) -> dict[str, str]:
    statuses = Counter(each.status for each in predictions)
    numbers = {words: str(statuses[status]) for status, words in _SUBTITLES.items()}
    return {"Images": str(len(predictions))} | numbers


def _counts(predictions: Sequence[Prediction]) -> list[tuple[str, int, Tone]]:
    """Results with how many images have each, classes first, in the order of the model."""
    classes = next((list(each.probabilities) for each in predictions if each.probabilities), [])
    order = [class_label(name) for name in classes]
    found = Counter({(label, Tone.DECIDED): 0 for label in order})
    found.update((_result(each), tone(each)) for each in predictions)

    def place(item: tuple[tuple[str, Tone], int]) -> tuple[int, int, int]:
        (words, kind), count = item
        return kind.value, order.index(words) if words in order else len(order), -count

    return [(words, count, kind) for (words, kind), count in sorted(found.items(), key=place)]


def _result(prediction: Prediction) -> str:
    return finding(prediction) if prediction.ok else f"{finding(prediction)} ({reason(prediction)})"


def _row(number: int, prediction: Prediction, folder: str, thumbnails: Mapping[str, bytes]) -> Row:
    return Row(
        number=number,
        thumbnail=thumbnails.get(prediction.file),
        file=shortened(prediction.file.removeprefix(folder)),
        result=finding(prediction),
        tone=tone(prediction),
        probabilities="\n".join(
            f"{class_label(name)} {percent(prediction, name)}" for name in prediction.probabilities or {}
        ),
        remark=_remark(prediction),
    )


def _remark(prediction: Prediction) -> str:
    if not prediction.ok:
        return f"{sentence(reason(prediction))}. {sentence(reason_detail(prediction))}"
    if is_uncertain(prediction):
        return sentence(str((prediction.decision or {})["reason"]))
    if prediction.decision is not None and shown_class(prediction) != prediction.predicted_class:
        return f"By its threshold; not excluded: {possible_classes(prediction) or 'not known'}"
    return f"Not excluded: {possible_classes(prediction) or 'not known'}"


def _fine_print(predictions: Sequence[Prediction], model: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield "Model.", f"{model_words(model)} Computed by {model['backend']}."
    decision = next((each.decision for each in predictions if each.decision), None)
    if decision is None:
        yield "Operating point.", "None: the model decides nothing, the most probable class is shown."
    else:
        thresholds = ", ".join(
            f"{class_label(name)} {value:.1%}".replace("%", " %")
            for name, value in decision["thresholds"].items()
        )
        yield "Operating point.", f"{ascii_text(decision['rule'])} Thresholds: {thresholds}."
    yield "Refused", "and not readable images have no result; in particular they are not normal."
    yield "Limits.", " ".join(LIMITS)
