"""Columns that no published format names: what they are called, and how verdicts are spelt in them."""
