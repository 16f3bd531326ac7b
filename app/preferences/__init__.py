"""Trusted verdicts as chosen and rejected answers, with the terms they are trusted on."""
