"""Which model people prefer, with intervals."""
