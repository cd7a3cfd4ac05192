#!/bin/sh
# One region's PostgreSQL.      postgres.sh init DATA
#                               postgres.sh serve DATA PORT
#                               postgres.sh up DATA PORT      (in a container: both, for the network that it is in)
# PG_BIN is the folder of initdb and postgres. Trusts whoever reaches it: for drills, not for production.
set -eu
[ -x "$PG_BIN/postgres" ] || { echo "no PostgreSQL in $PG_BIN: install it, or --set stack.params.bin=FOLDER" >&2 && exit 1; }
verb=$1 data=$2 port=${3:-} address=127.0.0.1
init() { "$PG_BIN/initdb" --pgdata "$data" --username postgres --auth trust --encoding UTF8 --no-locale; }
case $verb in
init)
    init
    exit
    ;;
up)
    address=0.0.0.0
    if [ ! -e "$data/PG_VERSION" ]; then
        init
        echo 'host all all samenet trust' >>"$data/pg_hba.conf"
    fi
    ;;
esac
exec "$PG_BIN/postgres" -D "$data" -c port="$port" -c listen_addresses="$address" -c unix_socket_directories= -c max_connections=20
