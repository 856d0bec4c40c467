"""Search for images that occur under two names, and removal of exact copies."""
