"""The evaluation report and the audit page as HTML."""
