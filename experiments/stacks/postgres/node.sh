#!/bin/sh
# One PostgreSQL node.      node.sh init DATA
#                           node.sh clone DATA URL-OF-THE-PRIMARY
#                           node.sh serve DATA NAME ADDRESS PORT SYNC URL-OF-THE-OTHER-NODE
# PG_BIN is the folder of initdb and postgres. Trust on loopback: for drills, not for production.
set -eu
[ -x "$PG_BIN/postgres" ] || { echo "no PostgreSQL in $PG_BIN: install it, or --set stack.params.bin=FOLDER" >&2 && exit 1; }
PATH=$PG_BIN:$PATH
verb=$1 data=$2
shift 2
case $verb in
init)
    initdb --pgdata "$data" --username postgres --auth trust --encoding UTF8 --no-locale
    printf 'host all all 127.0.0.0/8 trust\nhost replication all 127.0.0.0/8 trust\n' >>"$data/pg_hba.conf"
    echo 'create table rows (session text not null, item text primary key);' | postgres --single -j -D "$data" postgres
    ;;
clone)
    pg_basebackup --pgdata "$data" --dbname "$1" --wal-method stream --checkpoint fast --write-recovery-conf
    ;;
serve)
    name=$1 address=$2 port=$3 sync=$4 other=$5
    case $sync in
    on) standbys='*' ;;
    off) standbys= ;;
    *) echo "sync is on or off, not '$sync'" >&2 && exit 2 ;;
    esac
    set -- -c max_connections=400 -c cluster_name="$name" -c listen_addresses="$address" -c port="$port" \
        -c unix_socket_directories= -c synchronous_commit=on
    # What a failover manager does for a primary that comes back after another was promoted: it must not accept writes. Its own
    # last rows, which were never shipped, can still be read.
    if [ ! -e "$data/standby.signal" ] &&
        [ "$(PGCONNECT_TIMEOUT=2 psql -XAtqc 'select pg_is_in_recovery()' "$other" 2>/dev/null)" = f ]; then
        echo "fenced: $other accepts writes"
        set -- "$@" -c default_transaction_read_only=on
        standbys=
    fi
    exec postgres -D "$data" -c synchronous_standby_names="$standbys" "$@"
    ;;
esac
