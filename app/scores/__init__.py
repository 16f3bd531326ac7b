"""Scores of judges: stored, looked up, asked for."""
