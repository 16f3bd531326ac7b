"""How long the heavy calculations take, as ratios against baselines measured in the same run."""
