"""What the verbs of an operator do in this process; importing it loads the service."""
