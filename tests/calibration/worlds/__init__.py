"""Worlds whose truth is known: pairs, people, judges and traffic to draw samples from."""
