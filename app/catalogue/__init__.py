"""What is configured: judges and cascades."""
