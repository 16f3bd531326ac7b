"""Verdicts on pairs: from stored scores first, then from the cascade."""
