"""An example of a source: a collection with a table of findings, a folder of images and its own test part."""

from collections.abc import Iterator
from pathlib import Path

from covid_monai.core.vocabulary import NORMAL, PNEUMONIA
from covid_monai.datasets.collections.base import Excluded, Record, Source, facts_of, known_text, read_table

_COLUMNS = ("image", "finding", "subject", "part", "view", "sex", "age")
_CLASS_OF_FINDING = {"clear": NORMAL, "consolidation": PNEUMONIA, "infiltrate": PNEUMONIA}


def _read(folder: Path) -> Iterator[Record | Excluded]:
    """Yield the images of `findings.csv`; a finding without a class is excluded by name."""
    for row in read_table(folder / "findings.csv", columns=_COLUMNS):
        image = folder / "images" / row["image"]
        class_name = _CLASS_OF_FINDING.get(row["finding"])
        if class_name is None:
            yield Excluded(image, f"finding {row['finding'] or 'unknown'} has no class")
            continue
        patient = known_text(row["subject"])
        split = "test" if row["part"] == "test" else "training"
        yield Record(image, class_name, patient=patient, split=split, **facts_of(row))


SOURCE = Source(
    name="two-towns",
    layout="findings.csv and images/",
    licence="CC BY 4.0; the publication to cite",
    read=_read,
    needs=("findings.csv", "images"),
)
