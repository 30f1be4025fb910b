#!/usr/bin/env bash
# Build the serving image. Tags: the commit; on a tag vX.Y.Z also X.Y.Z. Never `latest`.
set -euo pipefail
cd "$(dirname "$0")/.."

image=${IMAGE:-loupe/serving}
commit=$(git rev-parse --short=12 HEAD)
if [ -n "$(git status --porcelain)" ]; then
  # Such an image is not what the commit says; publish.sh refuses it.
  commit=$commit-dirty
fi
names=("$image:$commit")
if tag=$(git describe --exact-match --tags --match 'v[0-9]*' 2>/dev/null); then
  if ! [[ $tag =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; then
    echo "build_image.sh: tag $tag is not a semantic version like v1.2.3" >&2
    exit 1
  fi
  names+=("$image:${tag#v}")
fi

arguments=()
for name in "${names[@]}"; do arguments+=(--tag "$name"); done
docker build --file serving/Dockerfile \
  --label "org.opencontainers.image.revision=$commit" "${arguments[@]}" .
mkdir -p build
printf '%s\n' "${names[@]}" | tee build/images.txt
