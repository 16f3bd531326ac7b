"""Judges whose models this process hosts: throughput by engine, cascade and kind; all need vLLM."""
