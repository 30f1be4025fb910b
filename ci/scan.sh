#!/usr/bin/env bash
# Search the built image for known vulnerabilities; high ones that can be mended stop the build.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v trivy >/dev/null; then
  echo "scan.sh: trivy is not installed on this agent; the image was NOT scanned" >&2
  exit 1
fi
trivy image --exit-code 1 --severity HIGH,CRITICAL --ignore-unfixed "$(cat image.txt)"
