"""The `study` part of an experiment's YAML: which images, which protocol, what was published."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from covid_monai.datasets.datalist import Item
from covid_monai.datasets.split import ValidationOrder, check_order

PROTOCOLS = ("official_test", "folds", "leave_one_patient_out", "leave_one_source_out")
_RULE_KEYS = {"source", "class", "view", "image", "as", "at_most"}


@dataclass(frozen=True)
class Study:
    """One experiment.

    Args:
        path: The YAML file, which is also an overlay to train.yaml.
        title: What is told apart, on which images.
        sources: Names as `covid-monai data prepare` has them, each with its folder below the data folder.
        take: Rules, see `take_images`; empty takes every image.
        classes: Final names in the order of their labels; empty takes them as the rules give them.
        protocol: One of `PROTOCOLS`.
        folds: Number of folds of the protocol `folds`.
        validation_order: How the protocol `official_test` draws validation, see `split_by_patient`.
        variants: Name to settings of train.yaml, such as two networks; each is run.
        apart: Name to a pattern for image paths: test images that are reported on their own too.
        published: Name of a metric to the published value; `where` says who published it.
        differs: Sentences: what differs from the published experiment.
    """

    path: Path
    title: str
    sources: tuple[tuple[str, str], ...]
    protocol: str
    take: tuple[Mapping[str, Any], ...] = ()
    classes: tuple[str, ...] = ()
    folds: int = 5
    validation_order: ValidationOrder = "random"
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"default": {}})
    apart: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)
    differs: tuple[str, ...] = ()


def read_study(path: str | Path) -> Study:
    """Read and check an experiment.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has no `study`, or a key or value of it is not as `Study` has them.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such experiment; configs/experiments/ holds those there are")
    content = ConfigParser.load_config_file(str(path)).get("study")
    if not isinstance(content, dict):
        raise ValueError(f"{path}: has no `study`, so it is a training overlay only, not an experiment")
    known = set(Study.__dataclass_fields__) - {"path"}
    unknown, missing = set(content) - known, {"title", "sources", "protocol"} - set(content)
    if unknown or missing:
        raise ValueError(
            f"{path}: study has unknown keys {sorted(unknown)} and lacks {sorted(missing)}; "
            f"its keys are {', '.join(sorted(known))}"
        )
    if content["protocol"] not in PROTOCOLS:
        raise ValueError(f"{path}: protocol {content['protocol']!r} is none of {', '.join(PROTOCOLS)}")
    check_order(content.get("validation_order", "random"))
    for rule in content.get("take", ()):
        if not set(rule) <= _RULE_KEYS:
            raise ValueError(f"{path}: rule {rule} has keys other than {', '.join(sorted(_RULE_KEYS))}")
    lists = {key: tuple(content[key]) for key in ("take", "classes", "differs") if key in content}
    sources = tuple((str(source), str(folder)) for source, folder in content["sources"])
    return Study(**{**content, **lists, "path": path, "sources": sources})


def take_images(items: Sequence[Item], rules: Sequence[Mapping[str, Any]]) -> list[Item]:
    """Return the images that the rules take, each under the class name that its rule gives.

    The first rule that fits decides. `source`, `class` and `view` compare with a value or any of a list;
    `image` is a pattern for the whole path such as `*virus*`; `as` renames the class; `at_most` bounds the
    images of the rule, taken in the order of their paths, one of each patient first.

    Args:
        items: Images with `image`, `class` (a name), `source`, `patient` and perhaps `view`.
        rules: Mappings as above; none takes everything.
    """
    if not rules:
        return list(items)
    taken: dict[int, list[Item]] = {}
    for item in sorted(items, key=_one_of_each_patient_first(items)):
        number = next((i for i, rule in enumerate(rules) if _fits(item, rule)), None)
        if number is None:
            continue
        rule = rules[number]
        images = taken.setdefault(number, [])
        if len(images) < rule.get("at_most", len(items)):
            images.append({**item, "class": rule.get("as", item["class"])})
    return [image for number in sorted(taken) for image in taken[number]]


def _one_of_each_patient_first(items: Sequence[Item]) -> Any:
    seen: Counter[str] = Counter()
    turn: dict[str, int] = {}
    for item in sorted(items, key=lambda item: str(item["image"])):
        turn[item["image"]] = seen[item["patient"]]
        seen[item["patient"]] += 1
    return lambda item: (turn[item["image"]], str(item["image"]))


def _fits(item: Item, rule: Mapping[str, Any]) -> bool:
    for key in ("source", "class", "view"):
        if key in rule:
            wanted = rule[key] if isinstance(rule[key], list) else [rule[key]]
            if item.get(key) not in wanted:
                return False
    return fnmatch(str(item["image"]), rule.get("image", "*"))
