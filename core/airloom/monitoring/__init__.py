"""What is known of a model in service: counters of its answers, and the log of them."""
