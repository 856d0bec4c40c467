"""A prediction as DICOM objects: report, heat map, outlines on the image, PDF. Needs the extra `dicom`."""

from covid_monai.core.errors import require_extra

with require_extra("dicom"):
    import fpdf  # noqa: F401
    import highdicom  # noqa: F401
    import uharfbuzz  # noqa: F401

from covid_monai.results.dicom.objects import ResultObjects
from covid_monai.results.dicom.source import NoResultObjects
from covid_monai.results.dicom.uids import Kind, ResultUIDs, result_uids
from covid_monai.results.files import write_results

__all__ = ["Kind", "NoResultObjects", "ResultObjects", "ResultUIDs", "result_uids", "write_results"]
