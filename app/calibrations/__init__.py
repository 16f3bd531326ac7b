"""Certificates: thresholds with a guarantee, from labelled pairs."""
