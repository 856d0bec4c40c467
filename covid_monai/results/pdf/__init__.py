"""Results as PDF files for people."""
