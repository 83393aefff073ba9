#!/usr/bin/env bash
# Proves the packages in a clean Debian 12, with nothing of the project beside it; prints all it does.
#     deploy/deb/prove.sh amd64|arm64 WORK DIST
# WORK holds the root file system (made by debootstrap where it is not there), DIST the packages of build.py.
# arm64 on amd64 runs under qemu's user emulation. As root; needs debootstrap, gnupg, apt-utils, and for arm64
# qemu-user-static.
set -euo pipefail
arch=$1 work=$2 dist=$3
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${PYTHON:-$project/.venv/bin/python}
root=$work/$arch
export LC_ALL=C.UTF-8 GNUPGHOME=$work/gnupg PYTHONPATH=$project
say() { printf '\n### %s (%d s so far)\n' "$*" "$SECONDS"; }
run() { printf '# %s\n' "$*"; chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 sh -c "$*"; }
refused() { if run "$*"; then echo "that should have been refused"; exit 1; else echo "(exit code $?)"; fi; }
AGENT='runuser -u bollard -- env NUMBA_CACHE_DIR=/var/cache/bollard/kernels BOLLARD_REQUIRE_SIGNED=${SIGNED:-0}'

make_root() {
  [ -e "$root/etc/debian_version" ] && return
  say "a clean Debian 12 for $arch"
  if [ "$arch" = arm64 ]; then
    emulate
    debootstrap --arch=arm64 --variant=minbase --foreign --include=systemd,python3 bookworm "$root" >"$work/debootstrap.log"
    chroot "$root" /debootstrap/debootstrap --second-stage >>"$work/debootstrap.log"
  else
    debootstrap --variant=minbase --include=systemd,python3 bookworm "$root" >"$work/debootstrap.log"
  fi
}

emulate() {  # the kernel hands programs of the other processor to qemu
  local at=/proc/sys/fs/binfmt_misc
  [ -e $at/register ] || mount -t binfmt_misc binfmt_misc $at
  [ -e $at/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$at/register
}

enter() {
  for folder in proc dev; do mountpoint -q "$root/$folder" || mount --bind /$folder "$root/$folder"; done
  trap leave EXIT
}

leave() {
  [ -z "${plc:-}" ] || kill "$plc" 2>/dev/null || true
  for folder in proc dev; do umount "$root/$folder" 2>/dev/null || umount -l "$root/$folder" || true; done
}

# The same package under another version: what changes between two versions is not the question here.
again_as() {
  local from=$1 version=$2 tree
  tree=$(mktemp -d -p "$work")
  dpkg-deb -R "$from" "$tree/p"
  sed -i "s/^Version: .*/Version: $version/" "$tree/p/DEBIAN/control"
  sed -i "s/0\.1\.0/$version/g" "$tree/p/DEBIAN/preinst"
  dpkg-deb -Zzstd -z1 -b "$tree/p" "$work/bollard_${version}_$arch.deb" >/dev/null
  rm -rf "$tree"
}

repository() {  # VERSION PACKAGE
  rm -rf "$root/media/stick-$1"
  mkdir -p "$root/media"
  "$project/deploy/deb/repository" prove "$root/media/stick-$1" "$2" 2>/dev/null
}

start_plc() {  # a meter that counts its answers
  PYTHONPATH=$project/tests "$python" - <<'PYTHON' >"$work/plc.port" &
import time
from plc_words import Plc
with Plc() as plc:
    print(plc.port, flush=True)
    time.sleep(7200)
PYTHON
  plc=$!
  for _ in $(seq 100); do [ -s "$work/plc.port" ] && break; sleep 0.1; done
  mkdir -p "$root/etc/bollard"
  cat >"$root/etc/bollard/site.toml" <<SITE
schema = 1
[site]
name = "quay"
gateway = "gw"
[broker]
host = "127.0.0.1"
port = 1
[spool]
path = "/var/lib/bollard/spool.db"
[clock]
require = false
[[device]]
name = "meter-1"
profile = "generic-meter"
host = "127.0.0.1"
port = $(cat "$work/plc.port")
timeout_s = 5.0
origin = "test"
[device.meter]
max_power_w = 1e7
SITE
  chroot "$root" chgrp bollard /etc/bollard/site.toml
}

agent_for() {  # SECONDS; until it says that it is ready, then so long
  cat >"$root/tmp/agent.sh" <<'SCRIPT'
bollard edge run --site /etc/bollard/site.toml >/tmp/agent.out 2>/tmp/agent.err & pid=$!
for i in $(seq 600); do grep -q ready /tmp/agent.out && break; kill -0 $pid 2>/dev/null || break; sleep 1; done
sleep "$1"
grep -E '^(VmRSS|VmHWM)' /proc/$pid/status
kill $pid; wait $pid; code=$?
cut -c1-160 /tmp/agent.err; echo "exit code $code"
python3 - <<'PYTHON'
import sqlite3
db = sqlite3.connect("file:/var/lib/bollard/spool.db?mode=ro", uri=True)
rows, = db.execute("SELECT count(*) FROM row").fetchone()
batches, sealed = db.execute("SELECT count(*), coalesce(sum(rows), 0) FROM batch").fetchone()
print(f"spool: {rows} loose rows, {sealed} rows in {batches} batches")
PYTHON
SCRIPT
  run "$AGENT sh /tmp/agent.sh $1"
}

mkdir -p "$work"
[ "$arch" = amd64 ] || emulate
make_root
enter
package=$(ls "$dist"/bollard_*_"$arch".deb)
mkdir -p -m 700 "$GNUPGHOME"
gpg --list-secret-keys prove >/dev/null 2>&1 || \
  gpg --batch --quiet --passphrase '' --quick-generate-key 'prove <prove@localhost>' ed25519 sign never 2>/dev/null
repository 0.1.0 "$package"
sum=$(sha256sum "$root/media/stick-0.1.0/bollard.gpg" | cut -d' ' -f1)

run "dpkg --purge bollard 2>/dev/null; rm -f /etc/apt/keyrings/bollard.gpg; apt-get clean"  # of a run before this one
say "what is not signed, or signed by others, is refused"
refused "sh /media/stick-0.1.0/install.sh"
refused "sh /media/stick-0.1.0/install.sh --key 0000"
cp -r "$root/media/stick-0.1.0" "$root/media/unsigned"
rm "$root/media/unsigned/InRelease"
refused "sh /media/unsigned/install.sh --key $sum 2>&1 | tail -3; [ -e /usr/bin/bollard ]"
rm -rf "$root/media/unsigned"; cp -r "$root/media/stick-0.1.0" "$root/media/changed"
printf 'x' >>"$root/media/changed/$(basename "$package")"
refused "sh /media/changed/install.sh 2>&1 | tail -3; [ -e /usr/bin/bollard ]"
rm -rf "$root/media/changed"

say "installation from the signed folder, without a network"
[ "$arch" = amd64 ] || run "apt-get install -y -qq --no-install-recommends adduser tzdata libstdc++6 >/dev/null"
run "sh /media/stick-0.1.0/install.sh --key $sum"
run "bollard --version; du -shL /opt/bollard; du -sh /var/cache/bollard; ls -l /etc/bollard"

say "the unit"
run "systemd-analyze verify --man=no /lib/systemd/system/bollard-edge.service && echo verified"
run "systemd-analyze security --offline=true bollard-edge.service | tail -1"

say "started by hand: the user and the environment of the unit"
start_plc
run "$AGENT bollard edge check --site /etc/bollard/site.toml --lang en"
agent_for 10

say "production takes signed site files only"
SIGNED=1
AGENT=${AGENT//'${SIGNED:-0}'/1}
refused "$AGENT bollard edge check --site /etc/bollard/site.toml"
rm -f "$work/quay.key" "$work/quay.pem"
"$python" -m gateway.cli site key "$work/quay.key" >/dev/null 2>&1
cp "$work/quay.pem" "$root/etc/bollard/trusted/"
"$python" -m gateway.cli site sign --site "$root/etc/bollard/site.toml" --key "$work/quay.key" --name "A. Martin" >/dev/null
chmod 644 "$root/etc/bollard/site.toml.sig"
run "$AGENT bollard edge check --site /etc/bollard/site.toml --lang en | tail -1; bollard site verify --site /etc/bollard/site.toml"
sed -i 's/1e7/2e7/' "$root/etc/bollard/site.toml"
refused "$AGENT bollard edge check --site /etc/bollard/site.toml"
AGENT=${AGENT/BOLLARD_REQUIRE_SIGNED=1/BOLLARD_REQUIRE_SIGNED=0}

if [ "$arch" = amd64 ]; then
  say "upgrade: settings, spool and state stay"
  again_as "$package" 0.1.1
  repository 0.1.1 "$work/bollard_0.1.1_$arch.deb"
  run "echo '# ours' >>/etc/bollard/edge.env; sha256sum /var/lib/bollard/spool.db /etc/bollard/site.toml"
  run "sh /media/stick-0.1.1/install.sh"
  run "dpkg-query -W bollard; tail -1 /etc/bollard/edge.env; sha256sum /var/lib/bollard/spool.db /etc/bollard/site.toml"
  agent_for 5
  say "downgrade"
  refused "dpkg -i /media/stick-0.1.0/$(basename "$package")"
  run "dpkg-query -W bollard"
  say "removal keeps the rows"
  run "apt-get purge -y -qq bollard; ls /var/lib/bollard"
fi
say "done"
