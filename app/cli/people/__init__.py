"""The verbs on what people label, and on what is watched with their help."""
