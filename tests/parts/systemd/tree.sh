#!/bin/bash
# A Debian 12 with systemd, Python and Mosquitto, as on a box: into the folder named, once. As root: bash tree.sh FOLDER
set -euo pipefail
tree=$1
stamp=$(sha256sum <"${BASH_SOURCE[0]}") # of what it says, not of where it is
[[ ! -f $tree/stamp || $stamp != "$(cat "$tree/stamp")" ]] || exit 0
rm -rf "$tree"
mkdir -p "$tree"
options=(--variant=minbase --include=systemd,systemd-sysv,dbus,python3,mosquitto --aptopt='APT::Install-Recommends "false"')
for folder in doc man locale; do
    options+=(--dpkgopt="path-exclude=/usr/share/$folder/*")
done
mmdebstrap --quiet "${options[@]}" bookworm "$tree/root"
echo "$stamp" >"$tree/stamp"
