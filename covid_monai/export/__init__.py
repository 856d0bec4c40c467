"""A trained bundle as one zip archive for clinical software, and the check of such an archive."""

from covid_monai.export.archive import export_bundle, verify_bundle

__all__ = ["export_bundle", "verify_bundle"]
