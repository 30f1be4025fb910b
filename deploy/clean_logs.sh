#!/bin/sh
# What the log groomers of the official Helm chart run beside each service of Airflow.
while :; do
  find "${AIRFLOW_HOME:-/var/lib/loupe/airflow}/logs" -type f \
    -mtime "+${AIRFLOW__LOG_RETENTION_DAYS:-15}" -delete || true
  sleep 900
done
