-- Run once, on an empty volume: a database for each of the three, beside the one of the user's name, which is Airloom's own.
CREATE DATABASE airflow ENCODING 'UTF8' TEMPLATE template0;
CREATE DATABASE mlflow ENCODING 'UTF8' TEMPLATE template0;
