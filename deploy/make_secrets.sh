#!/usr/bin/env bash
# Make the secrets of docker-compose.yaml in secrets/, each once; what is there stays.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 077
mkdir -p secrets

keep() { # name, content
  [ -s "secrets/$1" ] || printf %s "$2" >"secrets/$1"
  # The folder is closed; in a container the service's own user must read the file.
  chmod 0444 "secrets/$1"
}

random() { openssl rand -hex 32; }

keep postgres_password "$(random)"
keep airflow_jwt "$(random)"
keep airflow_api "$(random)"
keep airflow_fernet "$(openssl rand -base64 32 | tr '+/' '-_')"
keep s3_user loupe
keep s3_password "$(random)"
keep s3_credentials "$(printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
  "$(cat secrets/s3_user)" "$(cat secrets/s3_password)")"
# For LOUPE_RESULTS=firestore:<project>: the key of a service account. Nothing else reads it.
keep google_credentials '{}'
# Empty: whoever reaches the API, on loopback, may review. With a token in it only who has that.
keep review_token ""
keep bundle_signing_key "$(openssl genpkey -algorithm ed25519)"
# Every key whose bundles may be used, one PEM block after another.
keep bundle_public_keys "$(openssl pkey -in secrets/bundle_signing_key -pubout)"
echo "secrets/ is complete"
