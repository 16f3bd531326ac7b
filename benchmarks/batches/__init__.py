"""How fast the service judges batches and requests, and in how much memory.

The service's own code does the work, on real databases and in real processes; only the judge is
made up. Every ratio is of wall time unless its row says otherwise.
"""
