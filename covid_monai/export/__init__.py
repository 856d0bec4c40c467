"""A bundle as one file for clinical tooling."""

from covid_monai.export.package import export_bundle
from covid_monai.export.verify import verify_bundle

__all__ = ["export_bundle", "verify_bundle"]
