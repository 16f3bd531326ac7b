"""Engines that place the workers of a batch; the database stays the ledger."""
