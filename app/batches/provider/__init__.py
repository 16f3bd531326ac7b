"""Batches at the judges' providers: what they answer within a day, at a lower price."""
