"""UIDs of result objects, worked out from what they are made of, so that the same work gets the same UIDs."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from pydicom.uid import generate_uid

from covid_monai import __version__


class Kind(StrEnum):
    """What a result object is; each kind is a series of its own."""

    REPORT = "report"
    HEATMAP = "heatmap"
    PRESENTATION_STATE = "presentation_state"
    PDF = "pdf"


class ResultUIDs(NamedTuple):
    """Where an archive keeps one result."""

    series_instance_uid: str
    sop_instance_uid: str


def result_uids(source_sop_instance_uid: str, model: Mapping[str, str], kind: Kind) -> ResultUIDs:
    """UIDs of the result of one kind for one radiograph.

    The version of this package goes in, as it changes what is written.

    Args:
        source_sop_instance_uid: Of the radiograph.
        model: `ResultObjects.model`: all that a prediction depends on but the radiograph.
        kind: Which object.

    Returns:
        UIDs below pydicom's root; same arguments, same UIDs, on every machine.

    >>> first = result_uids("1.2.3", {"name": "a"}, Kind.REPORT)
    >>> first == result_uids("1.2.3", {"name": "a"}, Kind.REPORT)
    True
    >>> first.sop_instance_uid == result_uids("1.2.3", {"name": "b"}, Kind.REPORT).sop_instance_uid
    False
    """
    made_of = ["covid-monai result", __version__, source_sop_instance_uid, dict(model), kind]
    return ResultUIDs(
        *(str(generate_uid(entropy_srcs=[json.dumps([*made_of, level], sort_keys=True)]))
          for level in ("series", "instance"))
    )  # fmt: skip
