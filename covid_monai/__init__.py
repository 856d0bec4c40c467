"""MONAI bundles that classify chest images; research software, not a medical device."""

__version__ = "0.2.0"
