"""Cache of converted networks: a conversion takes seconds, which otherwise every start would take.

The name of a file is the digest of everything that the network was made from, so an old file is never used
for a new network. If the folder cannot be written, nothing is cached. A damaged file is made again.
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

MAX_NETWORKS = 16  # so that frequent training does not fill the disk
Parts = dict[str, bytes]


def get_or_convert(key: Mapping[str, Any], convert: Callable[[], Parts]) -> Parts:
    """Return a converted network from the cache; convert it, and cache it, if it is not there.

    `key` has the plain values that determine the result: weights, settings, versions of the converter.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / "networks" / f"{digest}.zip"
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        logger.info("%s cannot be read (%s). The network is converted again.", path, error)
    parts = convert()
    try:
        _write(path, parts)
    except OSError as error:
        logger.info("The converted network is not cached, so each start converts it again: %s", error)
    return parts


def cache_folder() -> Path:
    """Return `COVID_MONAI_CACHE`, else the folder `covid_monai` in the user's cache (XDG Base Directory)."""
    if folder := os.environ.get("COVID_MONAI_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "covid_monai"


def _read(path: Path) -> Parts:
    with zipfile.ZipFile(path) as archive:  # compares each part with its check sum
        parts = {name: archive.read(name) for name in archive.namelist()}
    os.utime(path)  # the least recently used files are deleted first
    return parts


def _write(path: Path, parts: Parts) -> None:
    with replace_atomically(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    for old in sorted(path.parent.glob("*.zip"), key=_last_used)[:-MAX_NETWORKS]:
        old.unlink(missing_ok=True)


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process has deleted it
        return 0.0
