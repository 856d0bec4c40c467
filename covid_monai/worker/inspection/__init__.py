"""What people ask of a worker: what it is doing, and what became of one object. Nothing is changed."""
