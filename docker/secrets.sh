#!/bin/sh
# Passwords and tokens of the suite, made once, into docker/.env (owner only), which git ignores and compose reads.
set -eu
umask 077
file="$(dirname "$0")/.env"
if [ -e "$file" ]; then
    echo "$file is there already; the databases and Airflow's connections need the secrets that they were made with" >&2
    exit 1
fi
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
{
    for name in POSTGRES_PASSWORD MLFLOW_PASSWORD SERVER_TOKEN AIRFLOW_PASSWORD API_SECRET JWT_SECRET; do
        echo "$name=$(random)$(random)"
    done
    echo "FERNET_KEY=$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')"
} > "$file.new"
mv "$file.new" "$file"
echo "wrote $file: SERVER_TOKEN asks the model server; admin with AIRFLOW_PASSWORD, and airloom with MLFLOW_PASSWORD, log in"
