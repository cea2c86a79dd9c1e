"""What should serve."""
