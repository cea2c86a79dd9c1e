"""From where a training came, and training it again."""
