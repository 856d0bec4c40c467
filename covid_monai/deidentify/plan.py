"""Which copy each input becomes, decided from headers alone before anything is written."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from covid_monai.deidentify.opening import Directory, read_header
from covid_monai.deidentify.outcome import Reason, Refused
from covid_monai.deidentify.pseudonyms import Pseudonyms, patient_of
from covid_monai.dicom.elements import get_text

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Identity:
    """Old and new identifiers of one object: for the crosswalk, never for a message."""

    patient_id: str
    pseudonym: str
    shift_days: int
    study_uid: str
    series_uid: str
    instance_uid: str

    def path(self, pseudonyms: Pseudonyms) -> str:
        """Posix path of the copy: pseudonym, then the new UIDs of study, series and instance."""
        uids = (pseudonyms.uid(uid) for uid in (self.study_uid, self.series_uid, self.instance_uid))
        return "/".join((self.pseudonym, *uids)) + ".dcm"


@dataclass(frozen=True)
class Planned:
    """One input.

    Args:
        number: Its place in the list of inputs, from 1: what messages call it by.
        source: Its old path.
        identity: None for what is refused.
        path: Of the copy, from the output folder.
        refused: Why it gets no copy.
        directory: Whether it is a DICOMDIR, which nobody misses.
        repeats: Whether an input before it has the same content.
    """

    number: int
    source: Path
    identity: Identity | None = None
    path: str = ""
    refused: Reason | None = None
    directory: bool = False
    repeats: bool = False


def plan(number: int, source: Path, *, pseudonyms: Pseudonyms, allow_burned_in: bool) -> Planned:
    """Read one header and say what becomes of the file."""
    try:
        ds = read_header(source)
        if get_text(ds, "BurnedInAnnotation").upper() == "YES" and not allow_burned_in:
            raise Refused(Reason.BURNED_IN)
    except Directory:
        return Planned(number, source, directory=True)
    except Refused as refusal:
        return Planned(number, source, refused=refusal.reason)
    patient, _ = patient_of(ds)
    identity = Identity(
        patient_id=get_text(ds, "PatientID"),
        pseudonym=pseudonyms.patient(patient),
        shift_days=pseudonyms.shift_days(patient),
        study_uid=get_text(ds, "StudyInstanceUID"),
        series_uid=get_text(ds, "SeriesInstanceUID"),
        instance_uid=get_text(ds, "SOPInstanceUID"),
    )
    return Planned(number, source, identity, identity.path(pseudonyms))


def without_collisions(planned: Iterable[Planned]) -> Iterator[Planned]:
    """The same plan, in which each instance has one copy: the first input makes it.

    Yields:
        Every input; exact repeats are marked, and what says something else under the same UID is refused.
    """
    first: dict[str, Planned] = {}
    for each in planned:
        # By instance, not by path: one UID in two studies or of two patients is a conflict too.
        instance = each.path.rpartition("/")[2]
        earlier = first.setdefault(instance, each) if instance else each
        if earlier is each:
            yield each
        elif _same_content(earlier.source, each.source):
            yield Planned(each.number, each.source, each.identity, each.path, repeats=True)
        else:
            yield Planned(each.number, each.source, each.identity, refused=Reason.CONFLICT)


def _same_content(one: Path, other: Path) -> bool:
    try:
        return _digest(one) == _digest(other)
    except OSError:  # whose message would name the file
        return False


def _digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.digest()
