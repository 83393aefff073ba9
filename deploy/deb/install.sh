#!/bin/sh
# Installs or updates bollard from the signed repository that this file lies in; needs no network. As root:
#     sh install.sh --key SHA256         the first time: the key's sum as you were told it, not as it stands here
#     sh install.sh                      an update
#     sh install.sh bollard-shore        another package
set -eu
here=$(cd "$(dirname "$0")" && pwd)
trusted=/etc/apt/keyrings/bollard.gpg
if [ "${1:-}" = --key ]; then
    sum=$(sha256sum "$here/bollard.gpg" | cut -d' ' -f1)
    if [ "$sum" != "${2:-}" ]; then
        echo "bollard.gpg: its SHA-256 is $sum, you were told ${2:-none}: do not install from this folder" >&2
        exit 1
    fi
    install -d -m 0755 /etc/apt/keyrings
    install -m 0644 "$here/bollard.gpg" "$trusted"
    shift 2
fi
if [ ! -f "$trusted" ]; then
    echo "no key is trusted here yet; run: sh install.sh --key SHA256, with the sum that you were told" >&2
    exit 2
fi
sources=$(mktemp -d)
trap 'rm -rf "$sources"' EXIT
chmod 755 "$sources"
mkdir "$sources/lists"
echo "deb [signed-by=$trusted] copy:$here ./" > "$sources/list"
# This folder and what is installed already, nothing else: the network is not asked. Dir::State::lists is a folder of
# its own, so that what apt knows of other sources stays as it is.
set -- "${@:-bollard}"
quiet="-q -o Dir::Etc::sourcelist=$sources/list -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists=$sources/lists
    -o APT::Sandbox::User=root -o APT::Get::List-Cleanup=0 -o APT::Update::Error-Mode=any"
# shellcheck disable=SC2086
apt-get $quiet update
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get $quiet install -y --no-install-recommends "$@"
