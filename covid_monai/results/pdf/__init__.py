"""Results as PDF pages."""
