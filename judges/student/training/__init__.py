"""Training of the embedded judge: `python -m judges.student.training`."""
