"""Canary pairs: whether judges follow what responses tell them to do."""
