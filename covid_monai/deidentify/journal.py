"""The output folder's own account: what stands in it, made with which key, and why the rest does not."""

import fcntl
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from covid_monai.core.atomic_files import write_text_atomically
from covid_monai.deidentify.outcome import DETAILS, Done, Reason, Review

REPORT = "deidentification.json"
_JOURNAL = ".deidentification.journal"  # one line a copy, until the report takes them over


class Journal:
    """What has been written to an output folder, kept through a kill.

    Args:
        folder: The output folder.
        settings: What decides the bytes of the copies: key, profile, options. Another run must share them.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = settings
        self.done: dict[str, Done] = {}
        self._file: TextIO | None = None

    @contextmanager
    def opened(self) -> Iterator["Journal"]:
        """Take the folder for this run alone.

        Raises:
            ValueError: If it holds something else, or what another key or other options made, or is in use.
        """
        self._check()
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _JOURNAL).open("a+", encoding="ascii") as self._file:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError("another run is writing to the output folder: wait for its end.") from None
            self._recall()
            _remove_temporary(self.folder)
            if not (self.folder / REPORT).exists():
                self.write_report({}, complete=False)
            yield self

    def add(self, done: Done) -> None:
        """Note a copy that has just been written."""
        assert self._file is not None
        self.done[done.path] = done
        self._file.write(json.dumps(_to_json(done)) + "\n")
        self._file.flush()

    def write_report(self, refused: dict[int, Reason], *, complete: bool, **counts: int) -> dict[str, Any]:
        """Write the account of the folder and of this run's inputs.

        Args:
            refused: Reason by the number of the input.
            complete: Whether the run has come to its end.
            counts: More numbers, such as inputs.
        """
        report = self._report(refused, complete=complete, counts=counts)
        write_text_atomically(self.folder / REPORT, json.dumps(report, indent=1) + "\n")
        if complete:
            (self.folder / _JOURNAL).unlink()
        return report

    def _report(
        self, refused: dict[int, Reason], *, complete: bool, counts: dict[str, int]
    ) -> dict[str, Any]:
        copies = [self.done[path] for path in sorted(self.done)]
        elements: Counter[str] = sum((Counter(copy.counts) for copy in copies), Counter())
        return {
            "complete": complete,
            "settings": self.settings,
            "counts": {
                "copies": len(copies),
                "patients": len({copy.path.split("/")[0] for copy in copies}),
                "studies": len({copy.path.split("/")[1] for copy in copies}),
                "copies_without_patient_id": sum(not copy.patient_known for copy in copies),
                "copies_to_review": sum(bool(copy.review) for copy in copies),
                **counts,
                "refused": len(refused),
            },
            "elements": {name: elements[name] for name in ("private", "removed", "changed")},
            "refused": [
                {"input": number, "reason": reason, "detail": DETAILS[reason]}
                for number, reason in sorted(refused.items())
            ],
            "review": {copy.path: list(copy.review) for copy in copies if copy.review},
            "copies": [_to_json(copy) for copy in copies],
        }

    def _check(self) -> None:
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise ValueError("the output is a file: give a new folder.")
        if not any(self.folder.iterdir()):
            return
        before = _settings_of(self.folder / REPORT)
        if before is None:
            raise ValueError(
                f"the output folder is not empty and holds no {REPORT}: give a new folder, or the one of an "
                "earlier run."
            )
        for name, value in self.settings.items():
            if before.get(name) != value:
                told = "key" if name == "key_id" else name.replace("_", "-")
                raise ValueError(f"the output folder was made with another {told}: give a new folder.")

    def _recall(self) -> None:
        """Copies of earlier runs: by the report, and by the journal of a run that was cut off."""
        assert self._file is not None
        if (self.folder / REPORT).exists():
            report = json.loads((self.folder / REPORT).read_text(encoding="utf-8"))
            self._remember(report["copies"])
        self._file.seek(0)
        for line in self._file.read().splitlines():
            try:
                self._remember([json.loads(line)])
            except ValueError:  # the last line of a run that was killed while writing it
                continue

    def _remember(self, copies: list[dict[str, Any]]) -> None:
        for copy in copies:
            if (self.folder / copy["path"]).is_file():
                review = tuple(Review(reason) for reason in copy["review"])
                self.done[copy["path"]] = Done(**{**copy, "review": review})


def _to_json(done: Done) -> dict[str, Any]:
    return {
        "path": done.path,
        "review": list(done.review),
        "counts": done.counts,
        "patient_known": done.patient_known,
    }


def _settings_of(report: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(report.read_text(encoding="utf-8"))["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remove_temporary(folder: Path) -> None:
    """Half-written copies of a run that was killed."""
    for path in folder.glob("*/*/*/.*.dcm.*.tmp"):
        path.unlink()
