"""Scores of judges: stored, looked up, fetched."""
