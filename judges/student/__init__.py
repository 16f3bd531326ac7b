"""The embedded judge: features, weights and training."""
