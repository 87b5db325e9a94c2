#!/bin/sh
# make-admin USERNAME: gives somebody who has registered the role `admin`, which their tokens tell from the next login or
# refresh on. For the first administrator of a new system; runs beside PostgreSQL, with its password in the environment.
set -eu

made=$(
    PGPASSWORD=$POSTGRES_PASSWORD psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 \
        --set "username=${1:?whom?}" --username "$POSTGRES_USER" --dbname users <<'SQL'
UPDATE accounts SET roles = '["admin", "customer"]' WHERE username = lower(:'username') RETURNING username;
SQL
)
if [ -z "$made" ]; then
    echo "nobody of this name has registered" >&2
    exit 1
fi
echo "$made is an administrator, from the next login on"
