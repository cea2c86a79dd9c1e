"""Airloom: a deep-learning system woven into Apache Airflow. This package knows no Airflow."""

__version__ = "0.1.0"
