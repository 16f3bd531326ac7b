"""Judges whose models vLLM runs, on real engines with tiny models."""
