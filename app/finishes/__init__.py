"""Datasets that are finished: judges answer what they are sure of, people label the rest."""
