"""Images to try the page with: drawn by a computer program when they are asked for, not patients."""

import io
from typing import NamedTuple

import numpy as np

from covid_monai.api.uploads import Upload
from covid_monai.phantoms.file_formats import PhantomPatient, radiograph_dataset
from covid_monai.phantoms.radiograph import draw_radiograph

_SIZE = 512


class Example(NamedTuple):
    """An image that can be drawn.

    Args:
        title: What the page calls it.
        class_name: What is drawn; what the model says of it is another matter.
        seed: The person.
        turned: Whether the image lies on its side, as the gate is to notice.
    """

    title: str
    class_name: str
    seed: int
    turned: bool = False

    def draw(self) -> Upload:
        """Draw it as a DICOM file of a synthetic patient."""
        image = draw_radiograph(self.class_name, seed=self.seed, size=_SIZE)
        image = np.ascontiguousarray(np.rot90(image)) if self.turned else image
        patient = PhantomPatient(f"PHANTOM-{self.seed:04d}", "M", 50, self.seed)
        buffer = io.BytesIO()
        radiograph_dataset(image, patient, number=1, view="PA").save_as(buffer)
        return Upload(f"synthetic-{self.title.lower().replace(' ', '-')}.dcm", buffer.getvalue())


EXAMPLES = (
    Example("Clear lungs", "normal", 4),
    Example("One lobe dense", "pneumonia", 1),
    Example("Haze on both sides", "covid", 2),
    Example("Hard to tell", "covid", 13),
    Example("Lying on its side", "normal", 7, turned=True),
)
