#!/bin/bash
# Builds shopfloor-gateway_VERSION_ARCH.deb: the gateway with all it needs in a virtual environment of its own.
#
#   wheels, each with its hash checked ─▶ /opt/shopfloor-gateway ─▶ dpkg-deb     and nothing is fetched when it is installed
#
# It is for the architecture and the Python (3.11, 3.12 …) of the machine it is built on: make deb
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$root/deploy/debian
python=${PYTHON:-$root/.venv/bin/python}
out=${1:-$root/dist}

version=${DEB_VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml")}
arch=$(dpkg --print-architecture)
minor=$("$python" -c 'import sys; print(sys.version_info.minor)')
# The same files give the same package, whenever it is built.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date -d "$(sed -n 's/^ -- .*>  //p' "$here/changelog" | head -1)" +%s)}
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
opt=$tree/opt/shopfloor-gateway
site=$opt/lib/python3.$minor/site-packages
doc=$tree/usr/share/doc/shopfloor-gateway
examples=$tree/usr/share/shopfloor-gateway # not below doc, which small systems leave out
install -d "$site" "$opt/bin" "$doc" "$examples" "$tree"/{DEBIAN,usr/bin,usr/lib/systemd/system,usr/share/man/man1,etc}

# ---- the virtual environment. Not made by `venv`: it has no pip, and nothing in it knows where it was built.

# setuptools builds; it is not needed to run. Where the checkout is built in is not written to.
awk '/^[^ #]/ {keep = !/^setuptools==/} keep' "$root/requirements.lock" >"$work/lock"
pip=("$python" -m pip --quiet --disable-pip-version-check install --no-compile --root-user-action ignore --target "$site")
"${pip[@]}" --require-hashes --only-binary :all: -r "$work/lock"
mkdir "$work/source"
cp -R "$root"/{gateway,adapters,simulators,config,pyproject.toml,README.md,LICENSE} "$work/source"
"${pip[@]}" --no-deps --no-build-isolation --upgrade "$work/source"
rm -rf "$site/bin"
find "$site" -name tests -type d -not -path "$site/gateway/*" -prune -exec rm -rf {} +
find "$site" -name direct_url.json -delete
find "$site" -name RECORD -exec sed -i '/direct_url.json,\|^\.\.\/\|^bin\//d' {} +
# Nobody can write beside them later, and without them a start takes seconds more.
"$python" -m compileall -q -j 2 -s "$tree" --invalidation-mode unchecked-hash "$site"
ln -s "/usr/bin/python3.$minor" "$opt/bin/python3"
cat >"$opt/pyvenv.cfg" <<CFG
home = /usr/bin
include-system-site-packages = false
version = 3.$minor
CFG
cat >"$opt/bin/gateway" <<'SCRIPT'
#!/opt/shopfloor-gateway/bin/python3
import sys

from gateway.cli import main

sys.exit(main())
SCRIPT
chmod 755 "$opt/bin/gateway"
ln -s /opt/shopfloor-gateway/bin/gateway "$tree/usr/bin/gateway"

# ---- service, documents

install -m 644 "$root"/deploy/systemd/*.service "$root"/deploy/fleet/*.{service,timer} "$tree/usr/lib/systemd/system"
install -m 644 "$root/deploy/README.md" "$doc"
install -m 644 "$here/copyright" "$doc"
install -m 644 "$here/gateway.yaml" "$root"/deploy/{systemd/serial.conf,mosquitto.conf,mosquitto.acl} "$examples"
install -D -m 644 -t "$examples/fleet" "$root"/deploy/fleet/*.{yaml,conf}
PYTHON=$python bash "$root/deploy/sbom.sh" "$doc/sbom.cdx.json" || echo "no sbom.cdx.json: pip install cyclonedx-bom" >&2
sed "1s/(.*)/($version)/" "$here/changelog" | gzip -9n >"$doc/changelog.gz"
gzip -9n <"$here/gateway.1" >"$tree/usr/share/man/man1/gateway.1.gz"
install -d -m 755 "$tree"/etc/gateway{,-store}
install -d -m 700 "$tree"/etc/gateway{,-store}/secrets
install -D -m 644 "$here/lintian-overrides" "$tree/usr/share/lintian/overrides/shopfloor-gateway"
for shell in bash zsh; do
    if (cd "$root" && "$python" -m gateway completion "$shell") >"$work/$shell" 2>/dev/null; then
        case $shell in
            bash) install -D -m 644 "$work/bash" "$tree/usr/share/bash-completion/completions/gateway" ;;
            zsh) install -D -m 644 "$work/zsh" "$tree/usr/share/zsh/vendor-completions/_gateway" ;;
        esac
    fi
done

# ---- the package

# The oldest C library that all compiled wheels take: manylinux_2_28 means 2.28, manylinux2014 means 2.17.
libc=$(sed -n 's/^Tag: .*manylinux_\([0-9]*\)_\([0-9]*\)_.*/\1.\2/p' "$site"/*.dist-info/WHEEL | sort -V | tail -1)
install -m 755 "$here"/{postinst,prerm,postrm} "$tree/DEBIAN"
sed -e "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@LIBC@/${libc:-2.17}/" -e "s/@PYTHON@/3.$minor/; s/@NEXT@/3.$((minor + 1))/" \
    -e "s/@SIZE@/$(du -sk --exclude=DEBIAN "$tree" | cut -f1)/" "$here/control" >"$tree/DEBIAN/control"
(cd "$tree" && find . -type f -not -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
mkdir -p "$out"
package=$out/shopfloor-gateway_${version}_$arch.deb
dpkg-deb --root-owner-group -Zxz -z"${DEB_LEVEL:-6}" --build "$tree" "$package" >/dev/null
echo "$package"
