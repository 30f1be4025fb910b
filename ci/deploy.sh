#!/usr/bin/env bash
# Reload the PythonAnywhere web app, whose working copy pulls the released tag.
set -euo pipefail
: "${PYTHONANYWHERE_API:?set PYTHONANYWHERE_API, the API address of the account}"
: "${PYTHONANYWHERE_TOKEN:?set PYTHONANYWHERE_TOKEN}" "${PYTHONANYWHERE_DOMAIN:?set PYTHONANYWHERE_DOMAIN}"
curl --fail --silent --show-error --request POST \
  --header "Authorization: Token $PYTHONANYWHERE_TOKEN" \
  "$PYTHONANYWHERE_API/webapps/$PYTHONANYWHERE_DOMAIN/reload/"
