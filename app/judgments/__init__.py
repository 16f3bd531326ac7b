"""Verdicts on pairs: scores already stored first, then the cascade."""
