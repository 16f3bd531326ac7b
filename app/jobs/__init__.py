"""Durable work: shards under leases."""
