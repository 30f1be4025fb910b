#!/usr/bin/env bash
# Push what build_image.sh built to Docker Hub, by commit and by version.
# DOCKERHUB_USER and DOCKERHUB_TOKEN come from the CI's secrets.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${DOCKERHUB_USER:?publish.sh: set DOCKERHUB_USER}"
: "${DOCKERHUB_TOKEN:?publish.sh: set DOCKERHUB_TOKEN}"

if ! [ -s build/images.txt ]; then
  echo "publish.sh: build/images.txt is missing; run ci/build_image.sh first" >&2
  exit 1
fi
mapfile -t names <build/images.txt
if [[ ${names[0]} == *-dirty ]]; then
  echo "publish.sh: ${names[0]} was built from uncommitted changes; not published" >&2
  exit 1
fi

# A login of its own, gone afterwards, whatever else the agent's user is logged in to.
DOCKER_CONFIG=$(mktemp -d)
export DOCKER_CONFIG
trap 'rm -rf "$DOCKER_CONFIG"' EXIT
printf %s "$DOCKERHUB_TOKEN" | docker login --username "$DOCKERHUB_USER" --password-stdin
for name in "${names[@]}"; do docker push "$name"; done
docker image inspect --format '{{join .RepoDigests "\n"}}' "${names[0]}" | tee build/digests.txt
