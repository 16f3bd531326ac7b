"""Judges whose models this process hosts with vLLM."""
