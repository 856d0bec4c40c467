"""A prediction as DICOM objects: report, heat map, outlines on the film, PDF. Needs the extra `dicom`."""

from covid_monai.errors import extra

with extra("dicom"):
    import fpdf  # noqa: F401
    import highdicom  # noqa: F401
    import uharfbuzz  # noqa: F401

from covid_monai.results.files import write_results
from covid_monai.results.objects import ResultObjects
from covid_monai.results.source import NoResultObjects
from covid_monai.results.uids import Kind, ResultUIDs, result_uids

__all__ = ["Kind", "NoResultObjects", "ResultObjects", "ResultUIDs", "result_uids", "write_results"]
