#!/bin/bash
# Installs what the tests run against: brokers, stores, a browser, and peers in C and JavaScript.
# From the root of a checkout, as root or where sudo works: bash tests/parts/setup.sh
# It can be run again at any time, and is done at once when nothing is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
here=$PWD
parts=$(cd ../.. && pwd)/.parts
PATH=$PATH:/usr/sbin:/sbin

fail() {
    echo "setup.sh: $1" >&2
    exit 1
}

mkdir -p "$parts/bin" "$parts/node"
exec 9>"$parts/lock"
flock 9

# ---- Debian packages: what has to be there, and the package that brings it

missing=()
while read -r what package; do
    [[ -e $what ]] || command -v "$what" >/dev/null || missing+=("$package")
done <<'TABLE'
mosquitto                       mosquitto
mosquitto_sub                   mosquitto-clients
victoria-metrics                victoria-metrics
influxd                         influxdb
mbpoll                          mbpoll
socat                           socat
chromium                        chromium
node                            nodejs
npm                             npm
gcc                             gcc
pkg-config                      pkg-config
/usr/include/stdlib.h           libc6-dev
/usr/include/modbus/modbus.h    libmodbus-dev
TABLE

if ((${#missing[@]})); then
    by_hand="install by hand: apt-get install --no-install-recommends ${missing[*]}"
    command -v apt-get >/dev/null || fail "missing: ${missing[*]}, and there is no apt-get; $by_hand"
    root=()
    if ((EUID)); then
        command -v sudo >/dev/null || fail "missing: ${missing[*]}, and this is neither root nor is there sudo; $by_hand"
        root=(sudo)
    fi
    apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600)
    "${apt[@]}" update || fail "missing: ${missing[*]}, and apt-get update failed; $by_hand"
    "${apt[@]}" install -y --no-install-recommends "${missing[@]}" || fail "missing: ${missing[*]}; $by_hand"
    # The tests start their own; what was not here before shall not run as a service.
    if [[ -d /run/systemd/system ]]; then
        for package in "${missing[@]}"; do
            case $package in
                mosquitto | victoria-metrics | influxdb) "${root[@]}" systemctl disable --quiet --now "$package" || true ;;
            esac
        done
    fi
fi

# ---- node packages, in the versions of package-lock.json

stamp=$(cat package.json package-lock.json .npmrc | sha256sum)
if [[ ! -d $parts/node/node_modules || $stamp != "$(cat "$parts/node/stamp" 2>/dev/null)" ]]; then
    # node-opcua requires an ES module.
    [[ $(node -p process.features.require_module) == true ]] ||
        fail "node $(node -v) is too old: install Node.js 20.19, 22.12 or newer by hand"
    cp package.json package-lock.json .npmrc "$parts/node"
    (cd "$parts/node" && npm ci --no-fund --no-audit) ||
        fail "missing: node packages; install by hand: cd $parts/node && npm ci"
    echo "$stamp" >"$parts/node/stamp"
fi

# ---- the Modbus server in C

source=$here/libmodbus/mbserver.c
binary=$parts/bin/mbserver
if [[ ! -x $binary || $source -nt $binary ]]; then
    read -ra flags <<<"$(pkg-config --cflags --libs libmodbus)"
    gcc -O2 -Wall -Wextra -o "$binary" "$source" "${flags[@]}" ||
        fail "missing: $binary; it needs gcc, libc6-dev and libmodbus-dev to be compiled"
fi
