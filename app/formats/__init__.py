"""Row formats of other tools, read and written; one file a format."""
