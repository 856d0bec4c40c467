"""From image files to one `Prediction` each.

Importing this package loads neither torch nor MONAI: `covid_monai.inference.classifier` does.
"""

from covid_monai.inference.prediction import Prediction

__all__ = ["Prediction"]
