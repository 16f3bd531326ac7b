"""Labels: what people said of the pairs of a dataset, and what they said before."""
