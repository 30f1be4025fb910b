#!/usr/bin/env bash
# Reload the PythonAnywhere web app through the host's API, then wait until it answers.
# The app's working copy is brought to the release by the host (see CONTRIBUTING.md, Releases).
set -euo pipefail
: "${PYTHONANYWHERE_USER:?deploy.sh: set PYTHONANYWHERE_USER}"
: "${PYTHONANYWHERE_TOKEN:?deploy.sh: set PYTHONANYWHERE_TOKEN}"
: "${PYTHONANYWHERE_DOMAIN:?deploy.sh: set PYTHONANYWHERE_DOMAIN, such as name.pythonanywhere.com}"
api=${PYTHONANYWHERE_API:-https://www.pythonanywhere.com/api/v0/user/$PYTHONANYWHERE_USER}
site=${PYTHONANYWHERE_SITE:-https://$PYTHONANYWHERE_DOMAIN}

# The token goes through a pipe: arguments can be read by every user of the machine.
curl --fail --silent --show-error --request POST \
  --header @<(printf 'Authorization: Token %s' "$PYTHONANYWHERE_TOKEN") \
  "$api/webapps/$PYTHONANYWHERE_DOMAIN/reload/"

for _ in $(seq "${DEPLOY_ATTEMPTS:-12}"); do
  if curl --fail --silent --max-time 10 --output /dev/null "$site/readyz"; then
    echo "deploy.sh: $site is ready"
    exit 0
  fi
  sleep "${DEPLOY_PAUSE_S:-5}"
done
echo "deploy.sh: $site was reloaded, but /readyz does not answer 200" >&2
exit 1
