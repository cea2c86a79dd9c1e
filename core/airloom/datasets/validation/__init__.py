"""How a validation result is shown."""
