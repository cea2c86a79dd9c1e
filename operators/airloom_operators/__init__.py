"""Airloom as an Airflow provider: one operator a step, an asset trigger, links."""
