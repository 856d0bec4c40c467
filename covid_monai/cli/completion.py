"""What a shell completes: names that this program knows, and folders that are bundles. Nothing heavy."""

import glob
from collections.abc import Callable

Complete = Callable[[str], list[str]]


def words(*known: str) -> Complete:
    """Complete one of these words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in known if word.startswith(incomplete)]

    return complete


def listed(*known: str) -> Complete:
    """Complete the last of several of these words with commas between them."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        taken = before.split(",")
        return [f"{before}{comma}{word}" for word in known if word.startswith(last) and word not in taken]

    return complete


def bundles(incomplete: str) -> list[str]:
    """Complete folders that are bundles, down to two levels below what was typed; then the shell's files."""
    typed, config = glob.escape(incomplete), "/configs/inference.yaml"
    return sorted(
        found.removesuffix(config)
        for below in ("", "/*", "/*/*")
        for found in glob.iglob(f"{typed}*{below}{config}")  # noqa: PTH207  # keeps what was typed as it is
    )


def sources(incomplete: str) -> list[str]:
    """Complete the kind of a collection; its folder is completed by the shell."""
    from covid_monai.datasets.collections import SOURCES

    return words(*SOURCES)(incomplete)
