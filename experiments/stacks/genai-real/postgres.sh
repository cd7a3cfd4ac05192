#!/bin/sh
# One region's PostgreSQL.      postgres.sh init DATA
#                               postgres.sh serve DATA PORT
# PG_BIN is the folder of initdb and postgres. Trust on loopback: for drills, not for production.
set -eu
[ -x "$PG_BIN/postgres" ] || { echo "no PostgreSQL in $PG_BIN: install it, or --set stack.params.bin=FOLDER" >&2 && exit 1; }
case $1 in
init)
    "$PG_BIN/initdb" --pgdata "$2" --username postgres --auth trust --encoding UTF8 --no-locale
    ;;
serve)
    exec "$PG_BIN/postgres" -D "$2" -c port="$3" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=20
    ;;
esac
