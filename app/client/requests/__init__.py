"""The requests of the service, one function for each."""
