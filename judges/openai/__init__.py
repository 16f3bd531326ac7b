"""Judges behind an OpenAI-compatible server: settings, calls, replies."""
