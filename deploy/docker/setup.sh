#!/bin/bash
# Makes what compose.yaml needs and what belongs into no repository: an authority, certificates of broker and page, passwords.
#
#   bash deploy/docker/setup.sh [FOLDER]       default: beside this file
#
# What is there already stays: run it again after a certificate was removed, and only that one is made anew.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-$here}
hosts=${HOSTS:-DNS:broker,DNS:localhost,IP:127.0.0.1} # names under which the broker is reached
page_hosts=${PAGE_HOSTS:-DNS:gateway,DNS:localhost,IP:127.0.0.1} # and the page
days=${DAYS:-825}
mkdir -p "$folder"/{tls,secrets}
chmod 700 "$folder/secrets"
umask 077

password() { # NAME: a file with 32 random letters, made once
    [[ -s $folder/secrets/$1 ]] || openssl rand -hex 16 >"$folder/secrets/$1"
}

tls=$folder/tls
if [[ ! -s $tls/ca.pem ]]; then
    openssl req -x509 -newkey rsa:3072 -nodes -sha256 -days 3650 -subj "/CN=shopfloor authority" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout "$tls/ca.key" -out "$tls/ca.pem" 2>/dev/null
fi

certificate() { # NAME COMMON-NAME HOSTS: NAME.pem and NAME.key of our authority, made once
    [[ ! -s $tls/$1.pem ]] || return 0
    openssl req -newkey rsa:3072 -nodes -subj "/CN=$2" -keyout "$tls/$1.key" -out "$tls/$1.csr" 2>/dev/null
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' "$3" >"$tls/extensions"
    openssl x509 -req -in "$tls/$1.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -CAcreateserial -days "$days" -sha256 \
        -extfile "$tls/extensions" -out "$tls/$1.pem" 2>/dev/null
    rm "$tls/$1.csr" "$tls/extensions"
}
certificate broker broker "$hosts"
certificate page gateway "$page_hosts"
chmod 644 "$tls"/*.pem

for name in mqtt_gateway mqtt_reader influx_token influx_password grafana_password metrics_token; do
    password "$name"
done
# user:password in the clear, to be hashed by `mosquitto_passwd -U` in the broker's own container.
printf 'edge-01:%s\nreader:%s\n' "$(cat "$folder/secrets/mqtt_gateway")" "$(cat "$folder/secrets/mqtt_reader")" \
    >"$folder/secrets/mosquitto_users"
# Handed to containers whose users have other numbers than ours: the folder above is what keeps others out.
chmod 644 "$folder"/secrets/* "$tls/broker.key" "$tls/page.key"
chmod 700 "$tls"
echo "made in $folder: tls/ and secrets/; next: docker compose -f ${here}/compose.yaml up -d"
