"""The embedded judge: features, weights, and the training that makes them."""
