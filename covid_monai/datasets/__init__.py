"""Datalists made from images on disk: public collections or own images, duplicates, split by patient."""
