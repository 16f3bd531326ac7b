"""A cascade over a whole dataset, resumable."""
