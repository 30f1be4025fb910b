#!/usr/bin/env bash
# Style, types and floors.
set -euo pipefail
cd "$(dirname "$0")/.."
make lint
