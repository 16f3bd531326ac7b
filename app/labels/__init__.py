"""Labels: what people say of the pairs of a dataset, with their history."""
