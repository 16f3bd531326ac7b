"""What could be certified, at what coverage and cost, from the labels at hand."""
