#!/usr/bin/env bash
# Push the scanned image to Docker Hub. DOCKERHUB_USER and DOCKERHUB_TOKEN come from the CI's secrets.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${DOCKERHUB_USER:?set DOCKERHUB_USER}" "${DOCKERHUB_TOKEN:?set DOCKERHUB_TOKEN}"
printf %s "$DOCKERHUB_TOKEN" | docker login --username "$DOCKERHUB_USER" --password-stdin
trap 'docker logout' EXIT
docker push "$(cat image.txt)"
if version=$(git describe --exact-match --tags 2>/dev/null); then
  docker push "${IMAGE:-loupe/serving}:$version"
fi
