#!/bin/sh
# Refuses a damaged table, and a list of tables that is stale. Any CI can run it; it needs the command ofa, no device.
set -eu
cd "$(dirname "$0")/.."
if [ -z "$(find luts -name lut.json -o -name ops.csv -o -name networks.csv -o -name sessions.jsonl)" ]; then
  echo "no table yet: nothing to check"
  exit 0
fi
ofa lut check luts
ofa lut index luts --check
