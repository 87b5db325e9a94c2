#!/bin/sh
# An authority for this machine, if there is none yet, and new certificates for both hosts. Run it again to replace the certificates.
set -eu
umask 077
mkdir -p "$(dirname "$0")/tls"
cd "$(dirname "$0")/tls"

new_key() {
    openssl ecparam -name prime256v1 -genkey -noout -out "$1"
}

if [ ! -f authority.crt ]; then
    new_key authority.key
    openssl req -x509 -new -key authority.key -days 30 -subj "/CN=Authority of this example" -out authority.crt
fi

issue() {
    new_key "$1.key.new"
    printf 'subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth\n' "$2" >"$1.ext"
    openssl req -new -key "$1.key.new" -subj "/CN=$2" |
        openssl x509 -req -CA authority.crt -CAkey authority.key -set_serial "0x$(openssl rand -hex 16)" \
            -days 30 -extfile "$1.ext" -out "$1.crt.new" 2>/dev/null
    rm "$1.ext"
    # Renamed, so that no reader finds half a file.
    mv "$1.key.new" "$1.key"
    mv "$1.crt.new" "$1.crt"
}

issue app app.localhost
issue wiki wiki.localhost
