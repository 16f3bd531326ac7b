"""Monitors: a random share of a certificate's verdicts is audited, and an alarm raised in time."""
