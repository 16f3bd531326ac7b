"""The command line; `tribunal` runs `main`."""

from app.cli.program import app, main

__all__ = ["app", "main"]
