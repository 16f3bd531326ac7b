"""Judges: what asks models, embedded or remote, which of two responses is better."""
