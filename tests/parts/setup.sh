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
prometheus                      prometheus
mbpoll                          mbpoll
socat                           socat
tcpdump                         tcpdump
strace                          strace
systemd-analyze                 systemd
faketime                        faketime
git                             git
ssh-keygen                      openssh-client
zsh                             zsh
fish                            fish
losetup                         mount
mkfs.ext4                       e2fsprogs
mmdebstrap                      mmdebstrap
unshare                         util-linux
lintian                         lintian
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
                mosquitto | victoria-metrics | influxdb | prometheus) "${root[@]}" systemctl disable --quiet --now "$package" || true ;;
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

# ---- the OPC UA server in C: open62541, which is not in Debian 12 but in the next one. Its packages are unpacked beside
# the checkout, not installed. Where they cannot be had its tests are left out, and the tests say so at their end.

open62541() {
    local folder=$parts/open62541 lib
    local packages=(libopen62541-1.4 libopen62541-1.4-dev libmbedcrypto16 libmbedx509-7)
    if [[ ! -d $folder/root ]]; then
        command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
        rm -rf "$folder"
        mkdir -p "$folder"/{state/lists/partial,cache/archives/partial,debs,new}
        touch "$folder/state/status"
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" \
            >"$folder/sources.list"
        cat >"$folder/apt.conf" <<CONF
Dir::State "$folder/state";
Dir::State::status "$folder/state/status";
Dir::Cache "$folder/cache";
Dir::Etc::sourcelist "$folder/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
APT::Sandbox::User "$(id -un)";
CONF
        APT_CONFIG=$folder/apt.conf apt-get -q update || return 1
        (cd "$folder/debs" && APT_CONFIG=$folder/apt.conf apt-get -q download "${packages[@]}") || return 1
        for deb in "$folder"/debs/*.deb; do
            dpkg-deb -x "$deb" "$folder/new" || return 1
        done
        rm -rf "$folder"/{state,cache,debs}
        mv "$folder/new" "$folder/root"
    fi
    lib=$(dirname "$(find "$folder/root" -name libopen62541.so)")
    # An RPATH, not a RUNPATH: it has to hold for what the library itself needs as well.
    gcc -O2 -Wall -Wextra -isystem "$folder/root/usr/include" -o "$binary" "$source" "$lib/libopen62541.so" \
        -Wl,--disable-new-dtags,-rpath,"$lib" -lpthread
}

source=$here/open62541/server.c
binary=$parts/bin/uaserver
if [[ ! -x $binary || $source -nt $binary ]]; then
    rm -f "$binary"
    open62541 || echo "setup.sh: no open62541 from Debian 13, see above: the tests against it are left out" >&2
fi

# ---- a Debian with systemd, to install the package on and run the service in. Where it cannot be had, those are left out.

if ((EUID)); then
    echo "setup.sh: no box with systemd, which needs root: the tests on it are left out" >&2
else
    bash "$here/systemd/tree.sh" "$parts/debian" ||
        echo "setup.sh: no Debian for a box with systemd, see above: the tests on it are left out" >&2
fi
