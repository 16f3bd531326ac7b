"""What models are asked and how their answers become scores: templates, examples, label tokens."""
