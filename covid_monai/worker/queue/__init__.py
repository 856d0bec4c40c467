"""The durable queue of the worker."""
