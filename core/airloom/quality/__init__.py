"""How well a version answers in service: metrics by labels that came late, and drift against what it was trained on."""
