"""Fonts for names in any script: DejaVu first, then fonts of the system; other letters are spelled out."""

import re
from functools import cache
from pathlib import Path

from fontTools.ttLib import TTFont
from matplotlib.font_manager import findSystemFonts

from covid_monai.results.rendering import dejavu_path

# In this order; the first is Debian's fonts-droid-fallback: Chinese, Japanese and Korean in 4 MB.
_FALLBACKS = (r"DroidSansFallback.*", r"NotoSansCJK.*-Regular", r"wqy-.*", r"NotoSans[A-Z][A-Za-z]+-Regular")


def fallback_fonts(words: str) -> list[Path]:
    """Return fonts of this machine that have letters of `words` which DejaVu lacks."""
    missing = {ord(letter) for letter in words if letter.isprintable()} - _letters(dejavu_path())
    chosen = []
    for path in _system_fonts() if missing else ():
        left = missing - _letters(path)
        if left < missing:
            missing = left
            chosen.append(path)
    return chosen


def spell_out(words: str, fonts: list[Path]) -> str:
    """Replace a letter that neither `fonts` nor DejaVu has by [U+4E2D], a line break or tab by a space."""
    known = set[int]().union(*(_letters(path) for path in (dejavu_path(), *fonts)))
    printable = "".join(letter if letter.isprintable() else " " for letter in words)
    return "".join(letter if ord(letter) in known else f"[U+{ord(letter):04X}]" for letter in printable)


@cache
def _letters(path: Path) -> set[int]:
    with TTFont(path, lazy=True, fontNumber=0) as font:
        return set(font.getBestCmap() or ())


@cache
def _system_fonts() -> tuple[Path, ...]:
    found = sorted(map(Path, findSystemFonts()))
    return tuple(path for name in _FALLBACKS for path in found if re.fullmatch(name, path.stem))
