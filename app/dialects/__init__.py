"""Row formats of the ecosystem, one file a format, each read into the canonical row."""
