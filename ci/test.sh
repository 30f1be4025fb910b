#!/usr/bin/env bash
# Every test.
set -euo pipefail
cd "$(dirname "$0")/.."
bash .ci/run
