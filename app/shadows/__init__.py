"""Shadow judges: a candidate judges a share of the traffic and decides nothing."""
