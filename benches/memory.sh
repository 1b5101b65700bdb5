#!/bin/sh
# Resident memory of valmis beside the exporters whose place it takes, all of them looking at the same
# PostgreSQL, machine and web server and scraped alike: `benches/memory.sh [seconds]`. Needs curl, openssl
# and what tests/servers.sh fetches; Redis' exporter takes part if it is in the PATH.
# EXPORTERS may name another folder to take them from; MODULE_TARGETS addresses are asked for over /probe at
# each round.
set -eu
cd "$(dirname "$0")/.."

seconds=${1:-150}
targets=${MODULE_TARGETS:-10}
# PROGRAM may name a build that is there already.
program=${PROGRAM:-target/release/valmis}
[ -x "$program" ] || cargo build --release
program=$(realpath "$program")
servers=$(realpath "${VALMIS_SERVERS:-target/servers}")
exporters=${EXPORTERS:-$servers/bookworm/usr/bin}
first=${FIRST_PORT:-21700}
folder=$(mktemp -d)
started=
trap 'kill $started 2>/dev/null; wait; rm -rf "$folder"' EXIT

# start NAME COMMAND... runs it in the background and remembers its process as `NAME.pid`.
start() {
    name=$1
    shift
    "$@" >"$folder/$name.log" 2>&1 &
    echo $! >"$folder/$name.pid"
    started="$! $started"
}

port() { echo $((first + $1)); }
database=postgres://postgres@127.0.0.1:$(port 0)/postgres?sslmode=disable
website=https://localhost:$(port 1)

mkdir "$folder/pg"
if [ "$(id -u)" = 0 ]; then chown 65534:65534 "$folder/pg" && chmod 755 "$folder"; fi
"$servers/bin/initdb" -D "$folder/pg" -U postgres -A trust >"$folder/initdb.log"
start postgres "$servers/bin/postgres" -D "$folder/pg" -k "$folder/pg" -p "$(port 0)" -h 127.0.0.1
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout "$folder/key.pem" -out "$folder/cert.pem" 2>"$folder/req.log"
start website openssl s_server -quiet -www -accept "$(port 1)" -cert "$folder/cert.pem" -key "$folder/key.pem"

cat >"$folder/blackbox.yml" <<END
modules: {web: {prober: http, http: {preferred_ip_protocol: ip4, tls_config: {ca_file: $folder/cert.pem}}}}
END
cat >"$folder/valmis.yaml" <<END
listen: 127.0.0.1:$(port 2)
postgres: [{name: appdb, dsn: "$database"}]
certificates: [{name: web, url: $website, file: $folder/cert.pem}]
blackbox: {config_file: $folder/blackbox.yml, allow: any, reach: {loopback: true}}
END
start valmis "$program" --config "$folder/valmis.yaml" --data-dir "$folder/data"
start blackbox "$exporters/prometheus-blackbox-exporter" --config.file="$folder/blackbox.yml" \
    --web.listen-address="127.0.0.1:$(port 3)"
start node "$exporters/prometheus-node-exporter" --web.listen-address="127.0.0.1:$(port 4)"
start postgres_exporter env DATA_SOURCE_NAME="$database" "$exporters/prometheus-postgres-exporter" \
    --web.listen-address="127.0.0.1:$(port 5)"
names='blackbox node postgres_exporter'
if command -v prometheus-redis-exporter >"$folder/redis.path"; then
    start redis prometheus-redis-exporter -web.listen-address "127.0.0.1:$(port 6)"
    names="$names redis"
fi

end=$(($(date +%s) + seconds))
while [ "$(date +%s)" -lt "$end" ]; do
    sleep 3
    for at in 2 3 4 5 6; do
        # One that has not started yet, or takes no part, has nothing to tell.
        curl -s -o "$folder/page" "http://127.0.0.1:$(port $at)/metrics" || true
    done
    for number in $(seq "$targets"); do
        for at in 2 3; do
            curl -s "http://127.0.0.1:$(port $at)/probe?module=web&target=$website/$number" >"$folder/page" || true
            grep -q '^probe_success 1' "$folder/page" || echo "a probe of $(port $at) failed" >>"$folder/failed"
        done
    done
done
[ ! -s "$folder/failed" ] || sort "$folder/failed" | uniq -c

# show NAME prints what /proc says of it, in kB; the last figure is the resident part that is no file.
show() {
    awk -v name="$1" '/^VmRSS/ {all = $2} /^RssAnon/ {own = $2} END {printf "%-20s %8d %8d\n", name, all, own}' \
        "/proc/$(cat "$folder/$1.pid")/status"
}
printf '%-20s %8s %8s\n' kB resident anonymous
for name in $names; do show "$name"; done | tee "$folder/shown"
awk '{all += $2; own += $3} END {printf "%-20s %8d %8d\n", "their sum", all, own}' "$folder/shown"
show valmis
