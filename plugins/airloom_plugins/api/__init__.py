"""`/airloom/api/v1` under Airflow's API server; see docs/adr/0064. One file for each object that it is about."""
