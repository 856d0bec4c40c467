"""The `study` part of an experiment's YAML: which images, which protocol, what was published."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import count
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from covid_monai.core.errors import check_choice, unknown_choice
from covid_monai.datasets.datalist import Item
from covid_monai.datasets.split import VALIDATION_ORDERS

# Each with the sentence about it in the result.
PROTOCOLS = {
    "official_test": "the test images are those that the collection names",
    "folds": "folds by patient and duplicate group: every image is tested once",
    "folds_by_image": "folds by image, which leak on purpose: other images of a patient, and copies of an "
    "image, are in training and test, as in many publications; no such figure holds for a new patient",
    "leave_one_patient_out": "each patient, with all copies, is left out once",
    "leave_one_source_out": "each collection is left out once",
}
_RULE_KEYS = {"source", "class", "view", "image", "as", "at_most"}


@dataclass(frozen=True)
class Study:
    """One experiment."""

    path: Path  # YAML file, which is also an overlay to train.yaml
    title: str  # classes and images that the study compares
    sources: tuple[tuple[str, str], ...]  # names for `data prepare`, each with its folder in the data folder
    protocol: str  # one of PROTOCOLS
    take: tuple[Mapping[str, Any], ...] = ()  # rules, see `select_images`; empty takes every image
    classes: tuple[str, ...] = ()  # in the order of their labels; empty takes those of the rules
    folds: int = 5  # of the protocols `folds` and `folds_by_image`
    validation_order: str = "random"  # of the protocol `official_test`, see `split_by_patient`
    # Settings of train.yaml for each name, such as two networks; each variant is run.
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"default": {}})
    # Pattern of image paths for each name: test images to report on their own, too.
    subsets: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)  # value of each metric, and `where`
    differs: tuple[str, ...] = ()  # sentences that say what differs from the published experiment


def read_study(path: str | Path, *, protocol: str | None = None, variant: str | None = None) -> Study:
    """Read and check an experiment; with another protocol, and with one variant alone, where they are given.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file has no `study`, or `study` has a key or value that `Study` does not have, or not
            this variant.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"The experiment {path} does not exist. Choose one of configs/experiments/.")
    content = ConfigParser.load_config_file(str(path)).get("study")
    if not isinstance(content, dict):
        problem = f"{path} has no `study`, so it is only an overlay for training."
        raise ValueError(f"{problem} Give a file with `study`.")
    known = set(Study.__dataclass_fields__) - {"path"}
    unknown, missing = set(content) - known, {"title", "sources", "protocol"} - set(content)
    if unknown or missing:
        raise ValueError(
            f"{path}: `study` has the unknown keys {sorted(unknown)} and lacks {sorted(missing)}. "
            f"Its keys are {', '.join(sorted(known))}."
        )
    content |= {"protocol": protocol or content["protocol"]}
    if content["protocol"] not in PROTOCOLS:
        raise ValueError(f"{path}: {unknown_choice('protocol', content['protocol'], PROTOCOLS)}")
    if variant is not None:
        variants = content.get("variants", {})
        check_choice("variant", variant, variants)
        content |= {"variants": {variant: variants[variant]}}
    check_choice("validation order", content.get("validation_order", "random"), VALIDATION_ORDERS)
    for rule in content.get("take", ()):
        if not set(rule) <= _RULE_KEYS:
            raise ValueError(
                f"{path}: the rule {rule} has an unknown key. Its keys are {', '.join(sorted(_RULE_KEYS))}."
            )
    lists = {key: tuple(content[key]) for key in ("take", "classes", "differs") if key in content}
    sources = tuple((str(source), str(folder)) for source, folder in content["sources"])
    return Study(**{**content, **lists, "path": path, "sources": sources})


def select_images(items: Sequence[Item], rules: Sequence[Mapping[str, Any]]) -> list[Item]:
    """Return the images that match a rule, each with the class name of its rule.

    The first matching rule decides. `source`, `class` and `view` are a value or a list of values. `image` is
    a pattern for the whole path such as `*virus*`. `as` renames the class. `at_most` limits the number of
    images of the rule: in the order of their paths, one of each patient first.
    Without rules every image is taken.
    """
    if not rules:
        return list(items)
    left, selected = _patients_in_turn(items), []
    for rule in rules:
        matching = [item for item in left if _matches(item, rule)]
        left = [item for item in left if not _matches(item, rule)]
        chosen = matching[: rule.get("at_most", len(items))]
        selected += [{**item, "class": rule.get("as", item["class"])} for item in chosen]
    return selected


def _patients_in_turn(items: Sequence[Item]) -> list[Item]:
    """Return the first image of each patient, then the second of each, and so on, each by path."""
    turns: defaultdict[str, Iterator[int]] = defaultdict(count)
    by_path = sorted(items, key=lambda item: str(item["image"]))
    # `sorted` asks for each key once, in the order of the items.
    return sorted(by_path, key=lambda item: next(turns[item["patient"]]))


def _matches(item: Item, rule: Mapping[str, Any]) -> bool:
    for key in {"source", "class", "view"} & set(rule):
        if item.get(key) not in (rule[key] if isinstance(rule[key], list) else [rule[key]]):
            return False
    return fnmatch(str(item["image"]), rule.get("image", "*"))
