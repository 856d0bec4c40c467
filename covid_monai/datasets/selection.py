"""Selection of records by class and by view, final names of the classes, and the order of their labels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from covid_monai.core.errors import unknown_choice
from covid_monai.core.vocabulary import DEFAULT_CLASS_NAMES, RefusalReason, check_class_names
from covid_monai.datasets.collections.base import Excluded, Record


def parse_classes(text: str) -> dict[str, str]:
    """Read the classes to keep; `new=old+old` merges classes.

    Returns:
        Final name of each found name, in the order of the labels.

    Raises:
        ValueError: If a name is empty or occurs twice.

    >>> parse_classes("normal,abnormal=pneumonia+covid")
    {'normal': 'normal', 'pneumonia': 'abnormal', 'covid': 'abnormal'}
    """
    classes: dict[str, str] = {}
    for part in text.split(","):
        new, equals, olds = part.partition("=")
        for old in (olds if equals else new).split("+"):
            if not old.strip() or not new.strip() or old.strip() in classes:
                raise ValueError(
                    f"The classes {text!r} have an empty or repeated name. "
                    "Write them like normal,abnormal=pneumonia+covid."
                )
            classes[old.strip()] = new.strip()
    return classes


def keep_classes(
    records: Sequence[Record], classes: Mapping[str, str] | None
) -> tuple[list[Record], list[Excluded]]:
    """Keep the records of `classes` under their final names; keep all without `classes`.

    A class that is neither in the records nor one of ours raises `ValueError`: a merged class would miss it.
    """
    if classes is None:
        return list(records), []
    found = {record.class_name for record in records}
    for name in classes:
        if name not in found and name not in DEFAULT_CLASS_NAMES:
            raise ValueError(unknown_choice("class", name, sorted(found)))
    kept = [replace(r, class_name=classes[r.class_name]) for r in records if r.class_name in classes]
    others = [record for record in records if record.class_name not in classes]
    return kept, [Excluded(r.image, f"class {r.class_name} was not asked for") for r in others]


def check_views(views: Sequence[str] | None) -> None:
    """Raise `ValueError` for a view that `predict` refuses: no image of it may be trained on."""
    from covid_monai.dicom.view import is_other_view  # imports pydicom, which `--help` does not need

    for view in views or ():
        if is_other_view(view):
            raise ValueError(
                f"View {view} is not frontal. The classifier refuses such images, so none is trained on. "
                "Choose frontal views, such as PA,AP."
            )


def keep_views(records: Sequence[Record], views: Sequence[str] | None) -> tuple[list[Record], list[Excluded]]:
    """Keep the frontal and the unknown views, as `predict` does; with `views`, only those of them."""
    from covid_monai.dicom.view import is_other_view

    wanted = {view.strip().upper() for view in views or ()}
    kept, excluded = [], []
    for record in records:
        if record.view and is_other_view(record.view):
            reason = f"{RefusalReason.NOT_FRONTAL}: the table names the view {record.view}"
            excluded.append(Excluded(record.image, reason))
        elif wanted and record.view not in wanted:
            excluded.append(Excluded(record.image, f"view {record.view or 'unknown'} was not asked for"))
        else:
            kept.append(record)
    return kept, excluded


def check_no_class_lost(
    wanted: Sequence[Record], kept: Sequence[Record], excluded: Sequence[Excluded]
) -> None:
    """Raise `ValueError` if a class of `wanted` has no record in `kept`, with the reason of its first image.

    `excluded` has the reason of each record of `wanted` that is not in `kept`.
    """
    left = {record.class_name for record in kept}
    reasons = {each.image: each.reason for each in excluded}
    for name in dict.fromkeys(record.class_name for record in wanted):
        if name not in left:
            images = [record.image for record in wanted if record.class_name == name]
            count = f"all {len(images)} images are" if len(images) > 1 else "its only image is"
            raise ValueError(
                f"No image of class {name} can be used: {count} left out. The first is {images[0]} "
                f"({reasons[images[0]].rstrip('.')}). Correct the images, or choose classes with --classes."
            )


def order_classes(records: Sequence[Record], classes: Mapping[str, str] | None) -> tuple[str, ...]:
    """Return the classes in the order of their labels: as in `classes`, else ours first, then others by name.

    Raises:
        ValueError: If a wanted class has no image, there are fewer than two classes, or `check_class_names`
            refuses a name.
    """
    found = {record.class_name: record for record in reversed(records)}
    for name, record in found.items():
        where, remedy = f"{record.image} (source {record.source})", "or with --classes NEW=OLD"
        check_class_names([name], where=where, remedy=f"Rename the class in its table or folder, {remedy}.")
    if classes is None:
        known = [name for name in DEFAULT_CLASS_NAMES if name in found]
        names = (*known, *sorted(found.keys() - set(known)))
    else:
        names = tuple(dict.fromkeys(classes.values()))
    absent = ", ".join(name for name in names if name not in found)
    if absent:
        raise ValueError(
            f"No readable image of class {absent}. Classes with images: {', '.join(sorted(found)) or 'none'}."
        )
    if len(names) < 2:
        found_only = f"Found only class {names[0]}" if names else "Found no class"
        raise ValueError(f"{found_only}, but a datalist needs two or more. Add a source or change --classes.")
    return names
