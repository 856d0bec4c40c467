"""DICOMweb client for an archive: session, multipart messages, failures."""
