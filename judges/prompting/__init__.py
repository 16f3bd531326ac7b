"""Build prompts and turn answers into scores: templates, few-shot examples, label tokens."""
