# shellcheck shell=bash
# The throw-away PostgreSQL server of scripts/test and scripts/bench. They source this file, and define `say` and `die`
# before they call its functions.
#
#   install_missing   installs a C compiler and PostgreSQL if they are missing, and the packages in its arguments
#   start_postgres    starts the server, and stops and removes it when the script ends. Sets `bin`, the directory of the
#                     server's programs; `dir`, with the data in `pg/data`; `port`; `postmaster`, the process id

# Prints the directory of the server's programs: that of initdb in PATH, else the newest of Debian's packages.
postgres_bin() {
  local initdb bin
  initdb=$(readlink -f "$(command -v initdb)" || true) # a link in PATH leads to where the other programs are
  while read -r bin; do
    if [[ -x $bin/initdb && -x $bin/postgres && -x $bin/pg_isready ]]; then
      printf '%s\n' "$bin"
      return
    fi
  done < <(printf '%s\n' "${initdb%/*}"; printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV)
  return 1
}

# Runs a command as root.
as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "installing packages needs root or sudo; please install what is named above, then run this again"
  fi
}

# Run as root, with the packages as arguments. The file keeps Debian's PostgreSQL packages from creating and starting a
# cluster.
# shellcheck disable=SC2016 # expanded by the inner shell
install_script='
  set -euo pipefail
  no_cluster=/etc/postgresql-common/createcluster.d/qunfa-test.conf
  trap "rm -f $no_cluster" EXIT
  mkdir -p "${no_cluster%/*}"
  echo "create_main_cluster = false" >"$no_cluster"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  apt-get install -yq --no-install-recommends "$@"
'

install_missing() {
  local packages=("$@")
  command -v cc >/dev/null || packages+=(gcc libc6-dev)
  postgres_bin >/dev/null || packages+=(postgresql)
  ((${#packages[@]})) || return 0
  command -v apt-get >/dev/null ||
    die "not found: ${packages[*]}, and no apt-get to install them with; please install them, then run this again"
  say "installing ${packages[*]}"
  as_root bash -c "$install_script" bash "${packages[@]}" >&2 ||
    die "could not install ${packages[*]}: see apt-get's message above"
}

stop() {
  local status=$?
  trap - EXIT
  if [[ -n $postmaster ]]; then
    kill -QUIT "$postmaster" 2>/dev/null || true # at once: nothing in it will be needed again
    wait "$postmaster" 2>/dev/null || true
  fi
  cd /
  rm -rf "$dir"
  exit "$status"
}

# Runs one of the server's programs as the right user, outside the repository, which that user may not be able to read.
server() {
  cd "$dir/pg" || exit
  exec env -i "PATH=$bin:/usr/bin:/bin" LC_ALL=C "${run_as[@]}" "$bin/$1" "${@:2}"
}

# Starts the server on the port $1; false if that is taken.
start() {
  local tries
  (server postgres -D "$dir/pg/data" -p "$1" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$dir/pg" \
    -c max_connections=200 -c fsync=on -c synchronous_commit=on) >"$dir/server.log" 2>&1 &
  postmaster=$!
  for ((tries = 0; tries < 600; tries++)); do
    # Through the socket in our own directory, where no other server can answer.
    if "$bin/pg_isready" -q -h "$dir/pg" -p "$1" -U postgres -d postgres; then
      return 0
    fi
    if ! kill -0 "$postmaster" 2>/dev/null; then
      wait "$postmaster" || true
      postmaster=
      if grep -q 'Address already in use' "$dir/server.log"; then
        return 1
      fi
      break
    fi
    sleep 0.1
  done
  cat "$dir/server.log" >&2
  die "the PostgreSQL server did not start: see above"
}

start_postgres() {
  local user attempt
  bin=$(postgres_bin) || die "no PostgreSQL server (initdb, postgres, pg_isready) in PATH or /usr/lib/postgresql/*/bin"
  # Not under TMPDIR: the path of a socket must be short, and the postgres user must be able to access it.
  dir=$(mktemp -d /tmp/qunfa-test.XXXXXX)
  postmaster=
  trap stop EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM

  # PostgreSQL refuses to run as root. The server is also told to stop if the script is killed.
  run_as=(env)
  user=$(id -un)
  if ((EUID == 0)); then
    user=postgres
    id -u postgres >/dev/null 2>&1 || user=nobody
    run_as=(setpriv "--reuid=$user" "--regid=$(id -g "$user")" --clear-groups --pdeathsig QUIT)
  elif command -v setpriv >/dev/null; then
    run_as=(setpriv --pdeathsig QUIT)
  fi
  chmod 0711 "$dir"
  mkdir -m 0700 "$dir/pg"
  ((EUID != 0)) || chown "$user" "$dir/pg"

  # PostgreSQL's own variables (PGPORT, PGOPTIONS, …) must reach neither the server nor its clients.
  unset "${!PG@}"

  say "starting a throw-away $("$bin/postgres" --version)"
  (server initdb --pgdata="$dir/pg/data" --username=postgres --auth=trust --encoding=UTF8 --locale=C) \
    >"$dir/initdb.log" 2>&1 || {
    cat "$dir/initdb.log" >&2
    die "initdb failed: see above"
  }

  # Below the range of ephemeral ports.
  for ((attempt = 0; attempt < 20; attempt++)); do
    port=$((20000 + RANDOM % 12000))
    start "$port" && break
  done
  [[ -n $postmaster ]] || die "no free port found for the PostgreSQL server"
}
