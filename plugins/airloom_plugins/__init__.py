"""Airloom's plugin for the Airflow UI."""
