"""From what belongs together to groups."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_Name = TypeVar("_Name", str, Path)


def connected(pairs: Iterable[tuple[_Name, _Name]]) -> list[tuple[_Name, ...]]:
    """Join pairs into groups: what is paired with one of a group belongs to it.

    Returns:
        Each name once, in order in its group and the groups by their first; the same for any order of pairs.

    >>> connected([("b", "c"), ("x", "y"), ("a", "c")])
    [('a', 'b', 'c'), ('x', 'y')]
    """
    links = list(pairs)
    names = sorted({name for pair in links for name in pair})
    if not names:
        return []
    number = {name: index for index, name in enumerate(names)}
    rows, columns = ([number[pair[side]] for pair in links] for side in (0, 1))
    graph = coo_array((np.ones(len(links)), (rows, columns)), shape=(len(names), len(names)))
    groups: dict[int, list[_Name]] = defaultdict(list)
    for name, group in zip(names, connected_components(graph, directed=False)[1], strict=True):
        groups[int(group)].append(name)
    return sorted(tuple(group) for group in groups.values())


def connected_groups(items: Sequence[Mapping[str, Any]]) -> NDArray[np.int64]:
    """Number the groups of images that belong together, by patient or by the group of a duplicate.

    >>> connected_groups([{"patient": "a"}, {"patient": "b", "group": "g"}, {"patient": "c", "group": "g"}])
    array([0, 1, 1])
    """
    nodes: dict[tuple[str, str], int] = {}
    pairs = []
    for row, item in enumerate(items):
        keys = [("patient", item.get("patient") or item["image"])]
        keys += [("group", item["group"])] if item.get("group") is not None else []
        pairs += [(row, len(items) + nodes.setdefault((kind, str(key)), len(nodes))) for kind, key in keys]
    start, end = np.array(pairs).T
    size = len(items) + len(nodes)
    graph = coo_array((np.ones(len(pairs)), (start, end)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][: len(items)], dtype=np.int64)
