#!/usr/bin/env bash
# Builds Telegraf once per machine, with the three plugins that read our topics into InfluxDB, for the benchmark of
# ingest. Needs go; takes about two minutes. Prints the path of telegraf as its last line on stdout.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(awk '/github.com\/influxdata\/telegraf v/ {print $NF == "indirect" ? $(NF-2) : $NF; exit}' "$here/go.mod")
cache=${BOLLARD_SERVERS:-${XDG_CACHE_HOME:-$HOME/.cache}/bollard/servers}
binary=$cache/telegraf-$version
say() { echo "servers: $*" >&2; }

if [ -x "$binary" ]; then
  say "telegraf $version is there"
  echo "$binary"
  exit 0
fi
command -v go >/dev/null || { say "cannot build telegraf $version: go not found; install Go 1.25 or newer"; exit 4; }
mkdir -p "$cache"
cd "$here"
export GOTOOLCHAIN=local GOFLAGS=-mod=readonly
started=$SECONDS
go build -tags custom,inputs.mqtt_consumer,outputs.influxdb_v2,parsers.influx -ldflags "-s -w" \
  -o "$binary.part" github.com/influxdata/telegraf/cmd/telegraf
mv "$binary.part" "$binary"
say "built telegraf $version in $((SECONDS - started)) s"
echo "$binary"
