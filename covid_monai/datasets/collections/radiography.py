"""COVID-19 Radiography Database (Chowdhury, Rahman et al.), as published on Kaggle by tawsifurrahman."""

from collections.abc import Iterator
from pathlib import Path

from covid_monai.core.vocabulary import COVID, NORMAL, PNEUMONIA
from covid_monai.datasets.collections.base import Record, Source, image_files

# Lung_Opacity is the authors' "non-COVID lung infection": the RSNA challenge's images that suggest pneumonia.
_CLASS_OF_FOLDER = {"COVID": COVID, "Normal": NORMAL, "Viral Pneumonia": PNEUMONIA, "Lung_Opacity": PNEUMONIA}


def _read(folder: Path) -> Iterator[Record]:
    """Yield the radiographs, never the lung masks beside them.

    The `*.metadata.xlsx` files (FILE NAME, FORMAT, SIZE, URL) have no patients, so every file counts as one.
    """
    for name, class_name in _CLASS_OF_FOLDER.items():
        images = folder / name / "images"
        # Releases before March 2021 have neither images/ nor masks/.
        for image in image_files(images if images.is_dir() else folder / name):
            yield Record(image, class_name)


SOURCE = Source(
    name="radiography",
    layout="COVID/images/, Normal/images/, Viral Pneumonia/images/ (and Lung_Opacity/images/)",
    licence="research use with citation; Chowdhury et al. 2020, Rahman et al. 2021, Kaggle tawsifurrahman",
    read=_read,
    needs=("COVID", "Normal", "Viral Pneumonia"),
    nested=("COVID-19_Radiography_Dataset", "COVID-19 Radiography Database"),
)
