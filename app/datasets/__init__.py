"""Datasets: labelled pairs that were imported, and the scores that came with them."""
