"""How well judges, cascade and people agree."""
