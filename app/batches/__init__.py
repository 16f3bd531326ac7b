"""Batches: a cascade over a whole dataset or over files, resumable."""
