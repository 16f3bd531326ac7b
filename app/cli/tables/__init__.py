"""Tables of results for people, one function for each kind of result."""
