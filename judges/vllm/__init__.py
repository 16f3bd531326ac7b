"""Judges whose models run in this process's vLLM engines."""
