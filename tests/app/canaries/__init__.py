"""Canary pairs."""
