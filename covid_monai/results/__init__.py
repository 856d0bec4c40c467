"""Predictions as DICOM objects (report, heat map, outlines, PDF) and as PDF; needs the extra `dicom`."""

from covid_monai.core.errors import require_extra

with require_extra("dicom"):
    import fpdf  # noqa: F401
    import highdicom  # noqa: F401
    import uharfbuzz  # noqa: F401

from covid_monai.results.dicom.result_objects import ResultObjects, write_results
from covid_monai.results.dicom.result_series import ObjectKind, ResultUIDs, result_uids
from covid_monai.results.dicom.source_radiograph import NoResultObjects

__all__ = ["NoResultObjects", "ObjectKind", "ResultObjects", "ResultUIDs", "result_uids", "write_results"]
