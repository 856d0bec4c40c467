"""Converted networks, kept between runs: converting takes seconds, and every start would pay for it.

A file is found by the digest of all that it was made of, so an old one is never taken for a new one. Where
the folder cannot be written nothing is kept; a damaged file is made again.
"""

import hashlib
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from covid_monai.core.atomic_files import replace_atomically

logger = logging.getLogger(__name__)

CACHE = "COVID_MONAI_CACHE"
KEPT = 16  # converted networks; who trains daily must not fill the disk
Parts = dict[str, bytes]


def kept(made_of: Mapping[str, Any], make: Callable[[], Parts]) -> Parts:
    """What `make` gives, from the cache if it stands there.

    Args:
        made_of: Plain values that settle what `make` gives: weights, settings, versions of the converter.
        make: Gives named byte strings.
    """
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / "networks" / f"{digest}.zip"
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        logger.info("%s is made again: it cannot be read (%s)", path, error)
    parts = make()
    try:
        _write(path, parts)
    except OSError as error:
        logger.info("The converted network is not kept, and made at each start: %s", error)
    return parts


def cache_folder() -> Path:
    """`COVID_MONAI_CACHE`, else `covid_monai` where the XDG Base Directory Specification puts caches."""
    if given := os.environ.get(CACHE):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "covid_monai"


def _read(path: Path) -> Parts:
    with zipfile.ZipFile(path) as archive:  # compares what it reads with its check sums
        parts = {name: archive.read(name) for name in archive.namelist()}
    os.utime(path)  # the least recently used go first
    return parts


def _write(path: Path, parts: Parts) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replace_atomically(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    for old in sorted(path.parent.glob("*.zip"), key=_last_used)[:-KEPT]:
        old.unlink(missing_ok=True)


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process was faster
        return 0.0
