"""Which of the records found are asked for: classes and their final names, views, the order of labels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from covid_monai.core.errors import unknown_choice
from covid_monai.core.vocabulary import DEFAULT_CLASS_NAMES
from covid_monai.datasets.collections import Excluded, Record

_FRONTAL = ("PA", "AP", "FRONTAL")  # starts of AP SUPINE, APS, AP ERECT, ... too
Selected = tuple[list[Record], list[Excluded]]


def parse_classes(text: str) -> dict[str, str]:
    """Read which classes to keep, with `new=old+old` to merge.

    Returns:
        Found name to final name, in the order of the labels.

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
                raise ValueError(f"classes {text!r}: expected names such as normal,abnormal=pneumonia+covid")
            classes[old.strip()] = new.strip()
    return classes


def keep_classes(records: Sequence[Record], class_map: Mapping[str, str] | None) -> Selected:
    """Keep the classes that the map names, under the names it gives them; all without a map.

    Raises:
        ValueError: If it names a class that is neither ours nor in the records: a merged one would lose it.
    """
    if class_map is None:
        return list(records), []
    found = {record.class_name for record in records}
    for name in class_map:
        if name not in found and name not in DEFAULT_CLASS_NAMES:
            raise ValueError(unknown_choice("class", name, sorted(found)))
    kept, excluded = [], []
    for record in records:
        name = record.class_name
        if name in class_map:
            kept.append(replace(record, class_name=class_map[name]))
        else:
            excluded.append(Excluded(record.image, f"class {name} was not asked for"))
    return kept, excluded


def keep_views(records: Sequence[Record], views: Sequence[str] | None) -> Selected:
    """Keep the views asked for; without `views` all frontal and all unknown ones, so lateral images go."""
    wanted = {view.strip().upper() for view in views} if views else None
    kept, excluded = [], []
    for record in records:
        view = record.view
        if (view is None or view.startswith(_FRONTAL)) if wanted is None else view in wanted:
            kept.append(record)
        else:
            excluded.append(Excluded(record.image, f"view {view or 'unknown'} was not asked for"))
    return kept, excluded


def check_no_class_lost(
    asked: Sequence[Record], kept: Sequence[Record], left_out: Sequence[Excluded]
) -> None:
    """Refuse to go on without a class of which every image was left out, and say why the first was.

    Args:
        asked: Records of the classes that are wanted.
        kept: Those of them that are left.
        left_out: The others, with their reasons.

    Raises:
        ValueError: If a class of `asked` has none in `kept`.
    """
    left = {record.class_name for record in kept}
    reasons = {excluded.image: excluded.reason for excluded in left_out}
    for name in dict.fromkeys(record.class_name for record in asked):
        if name not in left:
            images = [record.image for record in asked if record.class_name == name]
            raise ValueError(
                f"all {len(images)} images of class {name} are left out; {images[0]}: {reasons[images[0]]}. "
                "Mend that, or leave the class out: --classes"
            )


def order_classes(records: Sequence[Record], class_map: Mapping[str, str] | None) -> tuple[str, ...]:
    """Return the classes in the order of their labels: as asked for, else ours first, others by name.

    Raises:
        ValueError: If a class that was asked for has no image, or fewer than two classes are there.
    """
    found = {record.class_name for record in records}
    if class_map is None:
        known = [name for name in DEFAULT_CLASS_NAMES if name in found]
        names = (*known, *sorted(found - set(known)))
    else:
        names = tuple(dict.fromkeys(class_map.values()))
    absent = ", ".join(name for name in names if name not in found)
    if absent:
        raise ValueError(f"no readable image of class {absent}; found {', '.join(sorted(found)) or 'none'}")
    if len(names) < 2:
        only = names[0] if names else "none"
        raise ValueError(f"found only class {only}: add a source or ask for classes that make two or more")
    return names
