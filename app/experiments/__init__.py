"""Rules for choosing thresholds, compared over random splits of the labels at hand."""
