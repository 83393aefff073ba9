#!/usr/bin/env bash
# Installs what the agent is measured against (`benchmarks/test_peers.py`), once per machine, into the user's cache folder:
# node-red and node-red-contrib-modbus from npm, in the versions of package-lock.json, and thingsboard-gateway from PyPI,
# in those of thingsboard.txt. Needs Node.js 20, npm and Python 3.11 or newer; about 400 MB and two minutes.
# Usage: install.sh node-red|thingsboard. Idempotent. Prints the folder as its last line on stdout.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BOLLARD_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/bollard/peers}
say() { echo "peers: $*" >&2; }

case ${1:-} in
  node-red) pins=$here/package-lock.json; tools=(node npm) ;;
  thingsboard) pins=$here/thingsboard.txt; tools=(python3) ;;
  *) say "name the one to install: node-red or thingsboard"; exit 2 ;;
esac
folder=$cache/$1-$(sha256sum "$pins" | cut -c1-12)
if [ ! -e "$folder/.ready" ]; then
  for tool in "${tools[@]}"; do
    command -v "$tool" >/dev/null || { say "$tool not found"; exit 4; }
  done
  mkdir -p "$folder"
  exec 9>"$cache/lock"
  flock 9  # a second installation at the same time waits, then finds the first one's
fi
if [ ! -e "$folder/.ready" ]; then
  if [ "$1" = node-red ]; then
    cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$folder/"
    # No scripts of packages, no optional ones: no native serial port is needed.
    (cd "$folder" && npm ci --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error >&2)
  else
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check -r "$pins" >&2
  fi
  touch "$folder/.ready"
fi
echo "$folder"
