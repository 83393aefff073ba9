#!/usr/bin/env bash
# Installs the clients and servers by others that the simulator and the drivers are tried against, once per machine, into the user's cache folder:
# modbus-serial, node-opcua-client and node-opcua-server from npm, in the versions of package-lock.json. Needs Node.js and npm.
# Idempotent. Prints the folder as its last line on stdout. libmodbus comes from Debian: libmodbus-dev.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BOLLARD_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/bollard/peers}
folder=$cache/npm-$(sha256sum "$here/package-lock.json" | cut -c1-12)
say() { echo "peers: $*" >&2; }

if [ -e "$folder/.ready" ]; then
  say "npm packages are there"
  echo "$folder"
  exit 0
fi
for tool in node npm; do
  command -v "$tool" >/dev/null || { say "$tool not found; install Node.js 20 or newer"; exit 4; }
done
mkdir -p "$folder"
exec 9>"$cache/lock"
flock 9  # a second installation at the same time waits, then finds the first one's
if [ ! -e "$folder/.ready" ]; then
  cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$folder/"
  # No scripts of packages, no optional ones: the native serial port of modbus-serial is not used.
  (cd "$folder" && npm ci --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error >&2)
  touch "$folder/.ready"
fi
echo "$folder"
