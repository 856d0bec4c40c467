"""The COVID-19 image data collection of Cohen et al. 2020 (ieee8023/covid-chestxray-dataset)."""

import re
from collections.abc import Iterator
from pathlib import Path

from covid_monai.core.vocabulary import COVID, NORMAL, PNEUMONIA
from covid_monai.datasets.collections.base import Excluded, Record, Source, facts_of, known_text, read_table

_COLUMNS = ("patientid", "sex", "age", "finding", "view", "modality", "folder", "filename")
# Pathogens and kinds of pneumonia. Releases before October 2020 name them without their family.
_PNEUMONIAS = {
    *("pneumonia", "lipoid", "aspiration"),
    *("viral", "sars", "mers-cov", "influenza", "h1n1", "varicella", "herpes"),
    *("bacterial", "streptococcus", "staphylococcus", "mrsa", "klebsiella", "legionella", "e.coli"),
    *("chlamydophila", "mycoplasma", "mycoplasma bacterial pneumonia", "nocardia"),
    *("fungal", "pneumocystis", "aspergillosis"),
}


def class_of_finding(finding: str) -> str | None:
    """Return the class of a `finding`, `None` if it has none.

    Both notations are read: older releases write `COVID-19, ARDS`, newer ones `Pneumonia/Viral/COVID-19`.
    No class have `todo` and `Unknown` (no label), ARDS alone (a syndrome of many causes), and tuberculosis.

    >>> class_of_finding("Pneumonia/Viral/COVID-19"), class_of_finding("Klebsiella"), class_of_finding("todo")
    ('covid', 'pneumonia', None)
    """
    words = {word.strip().lower() for word in re.split("[/,]", finding)}
    if "covid-19" in words:
        return COVID
    if words == {"no finding"}:
        return NORMAL
    return PNEUMONIA if words & _PNEUMONIAS else None


def _read(folder: Path) -> Iterator[Record | Excluded]:
    """Yield the radiographs of `metadata.csv`; CT and findings without a class are excluded by name."""
    for row in read_table(folder / "metadata.csv", columns=_COLUMNS):
        image = folder / (row["folder"] or "images") / row["filename"]
        class_name = class_of_finding(row["finding"])
        if row["modality"] != "X-ray":
            yield Excluded(image, f"modality {row['modality'] or 'unknown'} is not X-ray")
        elif class_name is None:
            yield Excluded(image, f"finding {row['finding'] or 'unknown'} has no class")
        else:
            yield Record(image, class_name, patient=known_text(row["patientid"]), **facts_of(row))


SOURCE = Source(
    name="ieee8023",
    layout="metadata.csv and images/",
    licence="per image (column license of metadata.csv, mostly CC BY-NC-SA); Cohen et al. 2020",
    read=_read,
    needs=("metadata.csv", "images"),
    nested=("covid-chestxray-dataset",),
)
