"""COVID-CXNet (Haghanifar et al. 2020): COVID-19 images of many hospitals and web pages."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from covid_monai.core.vocabulary import COVID
from covid_monai.datasets.collections.base import (
    Record,
    Source,
    facts_of,
    image_files,
    known_text,
    read_table,
)

_COLUMNS = ("filename", "patient_id", "sex", "age", "view")
# The images without metadata in this range are of one hospital: ieee8023 has 38 of them, all from there, and
# none of the 245 other images that it shares is. Their numbers do not follow the patients: of 15 pairs of
# neighbours with known patients none is of one patient.
_HANNOVER = range(511, 707)
_HANNOVER_FACTS = {"location": "Hannover Medical School, Hannover, Germany"}


def _number(name: str) -> int | None:
    """Return the number at the start of a name; releases differ in zeros, marks (`-`, `p`) and suffix."""
    match = re.match(r"\d+", name)
    return int(match[0]) if match else None


def _read(folder: Path) -> Iterator[Record]:
    """Yield the radiographs, about half of them with patient, sex, age, view and country.

    An image without metadata may be of the patient of its neighbours: outside Hannover, 41 % of neighbours
    and 19 % of the next but one are of one patient, nearly always with the image between them, and none seven
    or more numbers apart. So it is tied to both neighbours, unless a copy in ieee8023 names its patient.
    """
    rows = read_table(folder / "metadata.csv", columns=_COLUMNS)
    row_of = {_number(row["filename"]): row for row in rows}
    hospital_of = _hospitals(row_of.values())
    images = image_files(folder / "covid19")
    numbered: dict[int | None, list[Path]] = defaultdict(list)
    for image in images:
        numbered[_number(image.name)].append(image)
    for image in images:
        number = _number(image.name)
        if row := row_of.get(number):
            facts = facts_of({"hospital": hospital_of.get(row.get("url", ""), ""), **row})
            yield Record(image, COVID, patient=known_text(row["patient_id"]), **facts)
        elif number in _HANNOVER:
            yield Record(image, COVID, **facts_of(_HANNOVER_FACTS))
        else:
            near = () if number is None else (number - 1, number, number + 1)
            beside = tuple(path for n in near for path in numbered[n] if path != image)
            yield Record(image, COVID, beside=beside)


def _hospitals(rows: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the pages that stand for a hospital: those with several patients.

    A publication of several patients describes those of one place as a rule. The largest page is the thread
    of one radiologist in Spain: 114 images of 50 patients, in one run of numbers.
    """
    patients: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        patients[row.get("url", "")].add(row["patient_id"])
    return {page: page for page, of_page in patients.items() if page and len(of_page) > 1}


SOURCE = Source(
    name="covid-cxnet",
    layout="covid19/ and metadata.csv",
    licence="CC BY 4.0; Haghanifar et al. 2020, COVID-CXNet",
    read=_read,
    needs=("covid19", "metadata.csv"),
    nested=("chest_xray_images",),
)
