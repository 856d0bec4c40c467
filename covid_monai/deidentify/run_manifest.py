"""Records of a run, in words that hold no identity, and the crosswalk for the hospital only."""

import fcntl
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TextIO

from covid_monai.core.atomic_files import make_private_folder, open_private, write_text_atomically
from covid_monai.core.tables import read_rows, write_table
from covid_monai.deidentify.rules import DECISIONS

MANIFEST = "deidentification.json"
_UNFINISHED = ".deidentification.jsonl"  # one line for each copy, until the manifest takes them over
_CROSSWALK_COLUMNS = (
    "input", "old_path", "new_path", "refused", "old_patient_id", "new_patient_id", "shift_days",
    "old_study_uid", "new_study_uid", "old_series_uid", "new_series_uid",
    "old_instance_uid", "new_instance_uid",
)  # fmt: skip
# Why a file has no de-identified copy; each reason has a sentence in rules.yaml.
Reason = Literal[
    "not_dicom", "unreadable", "truncated", "no_uids", "nesting", "report", "presentation", "unknown_class",
    "no_image", "burned_in", "conflict", "unknown_syntax", "failed",
]  # fmt: skip
# Why a person must look at a de-identified image before it is handed on.
Review = Literal[
    "burned_in_declared", "text_like_marks", "screen_or_capture", "derived", "photograph",
    "pixels_not_checked", "only_first_frame_checked", "unused_bits", "pixels_not_cleaned",
    "text_in_numbers", "table_not_checked", "identity_in_text",
]  # fmt: skip


class Refused(Exception):
    """An input gets no copy; the sentence of its reason becomes the message."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(DECISIONS["reasons"][reason])
        self.reason = reason


@dataclass(frozen=True)
class InputFile:
    """One input file, and the copy that its header asks for."""

    number: int  # position in the list of inputs, from 1; messages name the input by it
    source: Path
    # Old and new identifiers by the names of the crosswalk's columns; never for a message.
    identifiers: Mapping[str, str] = field(default_factory=dict)
    path: str = ""  # Posix path of the copy from the output folder; "" without a copy
    refused: Reason | None = None
    directory: bool = False  # a DICOMDIR only lists files, by old names and with every patient's name
    repeats: bool = False  # an earlier input has the same content


@dataclass(frozen=True)
class CopyRecord:
    """A copy in the output folder."""

    path: str  # Posix path from the output folder, made of new identifiers only
    review: tuple[Review, ...]  # reasons to look at it
    counts: dict[
        str, int
    ]  # of elements, by what was done with them, and whether its pixel data were rewritten
    patient_known: bool  # whether the original has a PatientID


class RunManifest:
    """Record of the copies in an output folder, which survives a killed run.

    The settings decide the bytes of the copies: key, profile, options. All runs in a folder share them.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings, self.path = folder, settings, folder / MANIFEST
        self.copies: dict[str, CopyRecord] = {}

    @contextmanager
    def locked(self) -> Iterator[Self]:
        """Reserve the output folder for this run, and load the records of earlier runs.

        Raises:
            ValueError: The folder holds other files, or copies made with another key or other options, or
                another run is writing to it.
        """
        self._check_folder()
        make_private_folder(self.folder)
        self._lines: TextIO
        unfinished = self.folder / _UNFINISHED
        with open(unfinished, "a+", encoding="ascii", opener=open_private) as self._lines:
            try:
                fcntl.flock(self._lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError("Another run is writing to the output folder. Wait for its end.") from None
            self._load()
            for path in self.folder.glob("*/*/*/.*.dcm.*.tmp"):  # half-written copies of a killed run
                path.unlink()
            if not self.path.exists():
                self.write({}, complete=False)
            yield self

    def add(self, copy: CopyRecord) -> None:
        """Record a copy that has just been written."""
        self.copies[copy.path] = copy
        self._lines.write(json.dumps(asdict(copy)) + "\n")
        self._lines.flush()

    def write(self, refused: dict[int, Reason], *, complete: bool, **counts: int) -> dict[str, Any]:
        """Write the manifest of the folder and of this run's inputs, and return its content.

        Refused inputs are given by their numbers. `complete` means that the run has reached its end.
        """
        copies = [self.copies[path] for path in sorted(self.copies)]
        elements: Counter[str] = sum((Counter(copy.counts) for copy in copies), Counter())
        content = {
            "complete": complete,
            "settings": self.settings,
            "counts": {
                "copies": len(copies),
                "patients": len({copy.path.split("/")[0] for copy in copies}),
                "studies": len({copy.path.split("/")[1] for copy in copies}),
                "copies_without_patient_id": sum(not copy.patient_known for copy in copies),
                "copies_to_review": sum(bool(copy.review) for copy in copies),
                "copies_with_rewritten_pixel_data": elements["pixels_rewritten"],
                **counts,
                "refused": len(refused),
            },
            "elements": {name: elements[name] for name in ("private", "removed", "changed")},
            "refused": [
                {"input": number, "reason": reason, "detail": DECISIONS["reasons"][reason]}
                for number, reason in sorted(refused.items())
            ],
            "review": {copy.path: list(copy.review) for copy in copies if copy.review},
            "copies": [asdict(copy) for copy in copies],
        }
        write_text_atomically(self.path, json.dumps(content, indent=1) + "\n")
        if complete:
            (self.folder / _UNFINISHED).unlink()
        return content

    def _check_folder(self) -> None:
        if self.folder.is_file():
            raise ValueError("The output is a file. Give a new folder.")
        if not self.folder.exists() or not any(self.folder.iterdir()):
            return
        try:
            settings = dict(json.loads(self.path.read_text(encoding="utf-8"))["settings"])
        except (OSError, ValueError, KeyError, TypeError):
            raise ValueError(
                f"The output folder is not empty and holds no valid {MANIFEST}. Give a new folder, or the "
                "folder of an earlier run."
            ) from None
        for name, value in self.settings.items():
            if settings.get(name) != value:
                setting = "key" if name == "key_id" else name.replace("_", "-")
                raise ValueError(f"The output folder was made with another {setting}. Give a new folder.")

    def _load(self) -> None:
        """Load copies of earlier runs: from the manifest, and from the lines of a run that was killed."""
        found = json.loads(self.path.read_text(encoding="utf-8"))["copies"] if self.path.exists() else []
        self._lines.seek(0)
        for line in self._lines:
            with suppress(ValueError):  # the last line of a run that was killed while writing it
                found.append(json.loads(line))
        self.copies = {
            copy["path"]: CopyRecord(**copy) for copy in found if (self.folder / copy["path"]).is_file()
        }


def write_crosswalk(path: Path, files: Iterable[InputFile]) -> None:
    """Write old beside new names as CSV. Only the owner may read it; rows of earlier runs stay."""
    rows = {}
    if path.exists():
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            header, *lines = [cells for _, cells in read_rows(file, path=path)] or [[]]
        rows = {row["old_path"]: row for cells in lines if (row := dict(zip(header, cells, strict=False)))}
    for each in files:
        row = {"input": str(each.number), "old_path": str(each.source), "new_path": each.path}
        rows[row["old_path"]] = {**row, "refused": str(each.refused or ""), **each.identifiers}
    write_table(path, _CROSSWALK_COLUMNS, map(_cells, rows.values()))


def _cells(row: Mapping[str, str]) -> Iterator[object]:
    days = row.get("shift_days")  # a number, whose minus sign begins no formula
    return map({**row, "shift_days": int(days) if days else None}.get, _CROSSWALK_COLUMNS)
