#!/bin/sh
# Each service gets one database, and one user that owns it and may connect to no other.
# PostgreSQL's image runs this once, when its volume is new; NAME_DB_PASSWORD is in its environment for each NAME.
set -eu

as_administrator() {
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB"
}

# database NAME VARIABLE: the variable holds the password, which psql reads itself, so that `ps` never shows it.
database() {
    as_administrator <<SQL
\\set name $1
\\set password \`printenv $2\`
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}

# By default, every user may connect to these databases.
as_administrator <<SQL
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
SQL

database users USERS_DB_PASSWORD
database orders ORDERS_DB_PASSWORD
database products PRODUCTS_DB_PASSWORD
