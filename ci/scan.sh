#!/usr/bin/env bash
# Search the built image for known vulnerabilities; one that can be mended stops the build.
set -euo pipefail
cd "$(dirname "$0")/.."

image=$(head -n 1 build/images.txt)
if command -v trivy >/dev/null; then
  exec trivy image --exit-code 1 --severity HIGH,CRITICAL --ignore-unfixed "$image"
fi
if ! command -v pip-audit >/dev/null; then
  echo "scan.sh: neither trivy nor pip-audit is on this agent; $image was NOT scanned" >&2
  exit 1
fi
echo "scan.sh: no trivy here: only Python packages are scanned, the system's are NOT" >&2
docker run --rm "$image" pip freeze --exclude loupe-inspection >build/packages.txt
pip-audit --no-deps --disable-pip --requirement build/packages.txt
