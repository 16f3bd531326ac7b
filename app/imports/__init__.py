"""Uploads become datasets, and datasets become files."""
