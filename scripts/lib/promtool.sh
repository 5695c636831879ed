# shellcheck shell=bash
# promtool, which checks metrics and alert rules. scripts/test sources this file after postgres.sh.
#
#   find_promtool      prints its path: in PATH, else in target/tools
#   install_promtool   extracts it from Debian's package prometheus into target/tools if it is missing; installing the
#                      package would start a server

tools=$PWD/target/tools

find_promtool() {
  command -v promtool || { [[ -x $tools/promtool ]] && printf '%s\n' "$tools/promtool"; }
}

install_promtool() {
  local unpacked failure="could not get promtool out of the package prometheus: see above"
  ! find_promtool >/dev/null || return 0
  { command -v apt-get && command -v dpkg-deb; } >/dev/null ||
    die "not found: promtool, and no apt-get to get it with; please install Prometheus, then run this again"
  say "fetching promtool"
  mkdir -p "$tools"
  unpacked=$(mktemp -d "$tools/unpacked.XXXXXX")
  download_prometheus "$unpacked" 2>/dev/null || {
    as_root apt-get update -q >&2 || die "$failure"
    download_prometheus "$unpacked" >&2 || die "$failure"
  }
  dpkg-deb --extract "$unpacked"/prometheus_*.deb "$unpacked" || die "$failure"
  mv "$unpacked/usr/bin/promtool" "$tools/promtool" || die "$failure"
  rm -rf "$unpacked"
}

download_prometheus() (
  cd "$1" && apt-get download -qq prometheus
)
