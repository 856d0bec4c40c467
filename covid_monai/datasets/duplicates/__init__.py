"""The same image under two names: candidates, comparison, and which copy stays."""
