#!/usr/bin/env bash
# Build the serving image, tagged with the commit and, on a tag, with the version.
set -euo pipefail
cd "$(dirname "$0")/.."
image=${IMAGE:-loupe/serving}
commit=$(git rev-parse --short=12 HEAD)
tags=(--tag "$image:$commit")
if version=$(git describe --exact-match --tags 2>/dev/null); then
  tags+=(--tag "$image:$version")
fi
docker build --file serving/Dockerfile --label "org.opencontainers.image.revision=$commit" "${tags[@]}" .
echo "$image:$commit" | tee image.txt
