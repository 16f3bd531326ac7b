"""Certificates, leaderboards and coefficients, each against a named baseline."""
