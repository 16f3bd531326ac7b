"""The service: HTTP, database, jobs, pages, command line."""
