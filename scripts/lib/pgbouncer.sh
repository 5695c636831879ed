# shellcheck shell=bash
# pgbouncer, a connection pooler in front of PostgreSQL. scripts/test sources this file after postgres.sh.
#
#   install_pgbouncer   downloads Debian's package if it is missing, with the libraries that the system lacks. They are only
#                       unpacked into target/tools, because installing the package would start a server
#   place_pgbouncer     prints the path of the program, after copying it to where the user of the PostgreSQL server can reach
#                       it. Call it after start_postgres

pooler=$PWD/target/tools/pgbouncer

install_pgbouncer() {
  local cache package failure="could not get the package pgbouncer: see above"
  ! command -v pgbouncer >/dev/null || return 0
  [[ ! -x $pooler/usr/sbin/pgbouncer ]] || return 0
  { command -v apt-get && command -v dpkg-deb; } >/dev/null ||
    die "not found: pgbouncer, and no apt-get to get it with; please install it, then run this again"
  say "fetching pgbouncer"
  cache=$(mktemp -d /tmp/qunfa-pgbouncer.XXXXXX)
  mkdir -p "$cache/partial" "$pooler"
  download_pgbouncer "$cache" 2>/dev/null || {
    as_root apt-get update -q >&2 || die "$failure"
    download_pgbouncer "$cache" >&2 || die "$failure"
  }
  for package in "$cache"/*.deb; do
    dpkg-deb --extract "$package" "$pooler" || die "$failure"
  done
  as_root rm -rf "$cache"
}

download_pgbouncer() {
  as_root apt-get install --download-only -yqq --no-install-recommends -o "Dir::Cache::archives=$1" pgbouncer >/dev/null
}

place_pgbouncer() {
  # shellcheck disable=SC2154 # set by start_postgres
  local place=$dir/pg/pgbouncer
  command -v pgbouncer && return
  cp -r "$pooler" "$place"
  # shellcheck disable=SC2016 # expanded when it is run
  printf '#!/usr/bin/env bash\nLD_LIBRARY_PATH=$(printf "%%s:" "${0%%/*}"/{usr/,}lib/*) exec "${0%%/*}/usr/sbin/pgbouncer" "$@"\n' >"$place/run"
  chmod -R a+rX "$place"
  chmod a+x "$place/run"
  printf '%s\n' "$place/run"
}
