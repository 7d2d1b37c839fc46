#!/bin/bash
# The bill of materials in the form of CycloneDX 1.6: what requirements.lock pins, with all hashes. bash deploy/sbom.sh FILE
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
file=${1:-$root/build/sbom.cdx.json}
mkdir -p "$(dirname "$file")"
"${PYTHON:-$root/.venv/bin/python}" -m cyclonedx_py requirements "$root/requirements.lock" --pyproject "$root/pyproject.toml" --mc-type application \
    --spec-version 1.6 --output-format JSON --output-reproducible --validate --output-file "$file"
