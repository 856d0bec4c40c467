"""De-identify files: plan, write what is missing, account for it."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset

from covid_monai.core.atomic_files import replace_atomically
from covid_monai.core.parallel import map_in_threads
from covid_monai.deidentify.clean import Cleaner
from covid_monai.deidentify.crosswalk import write_crosswalk
from covid_monai.deidentify.journal import Journal
from covid_monai.deidentify.opening import read_image
from covid_monai.deidentify.outcome import Done, Reason, Refused
from covid_monai.deidentify.picture import reviews
from covid_monai.deidentify.plan import Planned, plan, without_collisions
from covid_monai.deidentify.pseudonyms import Pseudonyms, patient_of
from covid_monai.deidentify.rules import EDITION, Rules


@dataclass(frozen=True)
class Settings:
    """How files are de-identified.

    Args:
        pseudonyms: Made from the key.
        rules: What becomes of each attribute.
        allow_burned_in: Let in what says that identity may stand in its picture.
        workers: Threads; the number of processors by default.
    """

    pseudonyms: Pseudonyms
    rules: Rules
    allow_burned_in: bool = False
    workers: int | None = None

    def to_json(self) -> dict[str, Any]:
        """What decides the copies."""
        return {
            "key_id": self.pseudonyms.key_id,
            "profile": f"PS3.15 {EDITION} Table E.1-1",
            "options": [{"code": code.value, "meaning": code.meaning} for code in self.rules.codes],
            "allow_burned_in": self.allow_burned_in,
        }


def deidentify(
    files: Sequence[Path], output: Path, settings: Settings, *, crosswalk: Path | None = None
) -> dict[str, Any]:
    """Write de-identified copies of DICOM images, and an account of them.

    A folder of an earlier run with the same key and options is completed: copies that stand there are not
    made again. Inputs are only read.

    Args:
        files: As `input_files` lists them.
        output: A new folder, or that of an earlier run.
        settings: Key and options.
        crosswalk: Where to write the table of old and new names, if at all.

    Returns:
        The content of `deidentification.json`.

    Raises:
        ValueError: If the output belongs to another run.
    """
    with _silent_pydicom(), Journal(output, settings.to_json()).opened() as journal:
        planned = _plan(files, settings)
        refused = {each.number: each.refused for each in planned if each.refused}
        for each, made in _copies(planned, output, settings, journal):
            if isinstance(made, Done):
                journal.add(made)
            else:
                refused[each.number] = made
        if crosswalk is not None:
            told = [replace(each, refused=refused.get(each.number)) for each in planned]
            write_crosswalk(crosswalk, told, settings.pseudonyms)
        return journal.write_report(
            refused,
            complete=True,
            inputs=len(files),
            repeats=sum(each.repeats for each in planned),
            directories=sum(each.directory for each in planned),
        )


def _plan(files: Sequence[Path], settings: Settings) -> list[Planned]:
    def work(item: tuple[int, Path]) -> Planned:
        return plan(*item, pseudonyms=settings.pseudonyms, allow_burned_in=settings.allow_burned_in)

    items = enumerate(files, start=1)
    found = map_in_threads(work, items, "reading headers", total=len(files), workers=settings.workers)
    return list(without_collisions(found))


def _copies(
    planned: Sequence[Planned], output: Path, settings: Settings, journal: Journal
) -> Iterator[tuple[Planned, Done | Reason]]:
    cleaner = Cleaner(settings.rules, settings.pseudonyms)
    wanted = [each for each in planned if each.path and not each.repeats and each.path not in journal.done]

    def work(each: Planned) -> tuple[Planned, Done | Reason]:
        try:
            return each, _copy(each, output, cleaner)
        except Refused as refusal:
            return each, refusal.reason
        except RecursionError:
            return each, Reason.NESTING
        except Exception:  # one file must not end the run, and a message of pydicom's may quote a name
            return each, Reason.FAILED

    yield from map_in_threads(work, wanted, "de-identifying", total=len(wanted), workers=settings.workers)


def _copy(each: Planned, output: Path, cleaner: Cleaner) -> Done:
    ds = read_image(each.source)
    patient_known = patient_of(ds)[1]
    counts = cleaner(ds)
    ds.file_meta = _new_file_meta(ds)
    ds.preamble = bytes(128)
    with replace_atomically(output / each.path) as temporary:
        pydicom.dcmwrite(temporary, ds, enforce_file_format=True)
        review = reviews(ds)  # before the copy gets its name: what is cut off gets none
    return Done(each.path, review, dict(counts), patient_known)


def _new_file_meta(ds: FileDataset) -> FileMetaDataset:
    """File meta information with the old encoding and nothing else of the old (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = ds.file_meta.TransferSyntaxUID
    return meta


@contextmanager
def _silent_pydicom() -> Iterator[None]:
    """Keep the parser's messages back: they quote values."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
