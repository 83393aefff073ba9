#!/usr/bin/env bash
# Builds a real InfluxDB 2 server once per machine, from the Go module of go.mod, into the
# user's cache folder. Needs go, cargo (Rust), gcc and Debian's pkg-config. Idempotent: a second
# run finds the binary and says so. Prints the path of influxd as its last line on stdout.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(awk '$1 == "github.com/influxdata/influxdb/v2" {print $2; exit}' "$here/go.mod")
cache=${BOLLARD_SERVERS:-${XDG_CACHE_HOME:-$HOME/.cache}/bollard/servers}
binary=$cache/influxd-$version
say() { echo "servers: $*" >&2; }

if [ -x "$binary" ] && "$binary" version >/dev/null 2>&1; then
  say "influxd $version is there"
  echo "$binary"
  exit 0
fi

missing=()
for tool in go cargo gcc pkg-config; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if [ ${#missing[@]} -gt 0 ]; then
  say "cannot build influxd $version: ${missing[*]} not found; install Go 1.25.10 or newer, Rust, gcc and pkg-config"
  exit 4
fi

mkdir -p "$cache/build"
exec 9>"$cache/build/lock"
flock 9  # a second build at the same time waits, then finds the first one's binary
if [ -x "$binary" ]; then echo "$binary"; exit 0; fi

# flux denies warnings that newer Rust compilers have since added.
cat >"$cache/build/rustc" <<'WRAPPER'
#!/bin/sh
exec "$@" --cap-lints=warn
WRAPPER
chmod +x "$cache/build/rustc"
# An interrupted build leaves half a copy of flux's Rust sources there, and the next one trusts it.
chmod -R u+w "$(go env GOCACHE)/pkgconfig" 2>/dev/null || true
rm -rf "$(go env GOCACHE)/pkgconfig"

cd "$here"
export GOTOOLCHAIN=local GOFLAGS=-mod=readonly
say "building influxdata's pkg-config (it compiles flux's Rust part on demand)"
go build -o "$cache/build/pkg-config" github.com/influxdata/pkg-config
say "building influxd $version: about 10 minutes on 2 cores, once per machine"
started=$SECONDS
PKG_CONFIG=$cache/build/pkg-config \
RUSTC_WRAPPER=$cache/build/rustc \
RUSTUP_TOOLCHAIN=${RUSTUP_TOOLCHAIN:-stable} \
  go build -tags sqlite_foreign_keys,sqlite_json -ldflags "-s -w -X main.version=$version" \
  -o "$binary.part" github.com/influxdata/influxdb/v2/cmd/influxd
mv "$binary.part" "$binary"
say "built $("$binary" version | head -n 1) in $((SECONDS - started)) s"
echo "$binary"
