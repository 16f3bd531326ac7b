"""A language model of 0.7 million parameters that judges word lists, and how it is trained."""
