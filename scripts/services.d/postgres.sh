# shellcheck shell=bash disable=SC2154 # what scripts/services assigns
# Postgres, durable as in production. Sourced by scripts/services, which has what is shared and shell options.

pg_database=uoop
pg_database_test=uoop_test
pg_wait_s=60
pg_user=""
pg_bin=""
pg_data="$home/postgres"

# Postgres refuses to run as root: then it runs as the user of the Debian package, or as one made for it.
pg_choose_user() {
  [ "$(id -u)" = 0 ] || return 0
  pg_user=postgres
  if ! id "$pg_user" >/dev/null 2>&1; then
    pg_user=uoop-services
    id "$pg_user" >/dev/null 2>&1 ||
      useradd --system --user-group --no-create-home --shell /usr/sbin/nologin "$pg_user" ||
      fail "cannot make the user $pg_user that Postgres is to run as"
  fi
}

as_pg() {
  if [ -n "$pg_user" ]; then
    (cd / && exec runuser -u "$pg_user" -- "$@")
  else
    "$@"
  fi
}

# The directory with initdb and its neighbours: of the data's major version if there is data, else of the newest.
pg_find_bin() {
  local major="*" found=""
  if [ -f "$pg_data/PG_VERSION" ]; then major=$(cat "$pg_data/PG_VERSION"); fi
  # shellcheck disable=SC2086,SC2012 # the star is meant, and versions are numbers
  found=$(ls -d /usr/lib/postgresql/$major/bin/initdb 2>/dev/null | sort -V | tail -n 1) || true
  if [ -z "$found" ] && command -v initdb >/dev/null; then
    found=$(readlink -f "$(command -v initdb)")
    if [ "$major" != "*" ] && ! "$found" --version | grep -Eq " $major([.]|beta|rc|$| )"; then
      fail "target/services/postgres was made by PostgreSQL $major, which is not installed: remove it to start afresh"
    fi
  fi
  [ -n "$found" ] && pg_bin=$(dirname "$found")
}

pg_install() {
  # Debian's package would make and start a cluster of its own on port 5432; nobody asked for that one.
  local setting=/etc/postgresql-common/createcluster.d/uoop.conf
  as_root mkdir -p "$(dirname "$setting")"
  printf 'create_main_cluster = false\n' | as_root tee "$setting" >/dev/null
  apt_install postgresql
  as_root rm -f "$setting"
  pg_find_bin || fail "postgresql is installed, but there is no initdb in /usr/lib/postgresql"
}

# Makes the data directory's parents passable for the user Postgres runs as. Where the checkout lies in a private
# directory it moves below TMPDIR, with a symbolic link in its place.
pg_place_data() {
  mkdir -p "$home"
  if [ -n "$pg_user" ] && ! as_pg test -x "$home" && ! [ -L "$pg_data" ]; then
    [ ! -e "$pg_data" ] || fail "$pg_user cannot reach $pg_data: remove it, or make the directories above it passable"
    local hash elsewhere
    hash=$(printf '%s' "$root" | sha256sum | cut -c 1-12)
    elsewhere="${TMPDIR:-/tmp}/uoop-services-$hash"
    say "$pg_user cannot reach target/services in this checkout: its data goes to $elsewhere"
    pg_own_directory "$elsewhere"
    ln -s "$elsewhere/postgres" "$pg_data"
  fi
  if [ -L "$pg_data" ]; then
    pg_own_directory "$(dirname "$(readlink "$pg_data")")"
    pg_data=$(readlink "$pg_data")
  fi
  pg_own_directory "$pg_data"
}

# Makes a directory that belongs to us alone, and refuses one that somebody else put there.
pg_own_directory() {
  local owner=${pg_user:-$(id -un)}
  mkdir -m 700 "$1" 2>/dev/null || [ -d "$1" ] || fail "cannot make the directory $1"
  case "$(stat -c %U "$1")" in
    "$owner") ;;
    root) if [ -n "$pg_user" ] && [ ! -L "$1" ]; then chown "$pg_user" "$1"; else fail "$1 belongs to root"; fi ;;
    *) fail "$1 belongs to $(stat -c %U "$1"), not to $owner" ;;
  esac
}

pg_line() { sed -n "$1p" "$pg_data/postmaster.pid" 2>/dev/null; }

postgres_directory() { readlink -f "$pg_data"; }
postgres_port() { pg_line 4; }

# The pid in the pid file, if that process is a Postgres on our data and not one that got the number of a dead one.
postgres_pid() {
  local pid
  pid=$(pg_line 1) || return 1
  [[ "$pid" =~ ^[0-9]+$ ]] || return 1
  works_in "$pid" "$(postgres_directory)" || return 1
  printf '%s' "$pid"
}

# After a crash or a restart of the machine the pid file may name a process that is not ours; Postgres would take it for
# a running server. The file is removed only when nothing at all works in the data directory.
pg_remove_stale_pid_file() {
  local left second
  [ -f "$pg_data/postmaster.pid" ] || return 0
  for ((second = 0; second < pg_wait_s; second++)); do
    left=$(processes_in "$(postgres_directory)")
    if [ -z "$left" ]; then
      say "removing a stale postmaster.pid (process $(pg_line 1) is not ours)"
      rm -f "$pg_data/postmaster.pid"
      return 0
    fi
    sleep 1
  done
  fail "postmaster.pid does not name the processes that work in $pg_data: stop them first: ${left//$'\n'/ }"
}

pg_sql() { "$pg_bin/psql" -XqtA -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$1" -U postgres -d postgres -c "$2" </dev/null; }

pg_start() {
  local port log options
  pg_remove_stale_pid_file
  port=$(choose_port postgres UOOP_PG_PORT 55432 55441) || exit 1
  log="$pg_data/server.log"
  # Durable as in production (fsync, synchronous_commit): what tests kill must be found again.
  options="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200"
  options+=" -c fsync=on -c synchronous_commit=on -c timezone=UTC"
  as_pg "$pg_bin/pg_ctl" start -D "$pg_data" -l "$log" -w -t "$pg_wait_s" -s -o "$options" </dev/null >&2 9>&- || {
    tail -n 20 "$log" >&2 || true
    fail "Postgres did not start within $pg_wait_s s; its log is $log"
  }
  say "Postgres is up on port $port (data in $pg_data)"
}

pg_create_databases() {
  local database
  for database in "$pg_database" "$pg_database_test"; do
    if [ -z "$(pg_sql "$1" "SELECT 1 FROM pg_database WHERE datname = '$database'")" ]; then
      pg_sql "$1" "CREATE DATABASE $database"
    fi
  done
}

postgres_up() {
  local port
  pg_choose_user
  pg_find_bin || pg_install
  pg_choose_user
  pg_place_data
  if [ ! -f "$pg_data/PG_VERSION" ]; then
    say "creating a database cluster in $pg_data"
    as_pg "$pg_bin/initdb" -D "$pg_data" -U postgres -A trust -E UTF8 --locale=C --no-instructions </dev/null >/dev/null ||
      fail "initdb failed: see above"
  fi
  if postgres_pid >/dev/null; then
    port=$(postgres_port)
    say "Postgres is already up on port $port (process $(postgres_pid))"
    [ "${UOOP_PG_PORT:-$port}" = "$port" ] || say "UOOP_PG_PORT is $UOOP_PG_PORT: it takes effect after 'down'"
  else
    pg_start
    port=$(postgres_port)
  fi
  keep_port postgres "$port"
  pg_create_databases "$port"
  printf 'export DATABASE_URL=postgres://postgres@127.0.0.1:%s/%s\n' "$port" "$pg_database"
  printf 'export UOOP_TEST_POSTGRES_URL=postgres://postgres@127.0.0.1:%s/%s\n' "$port" "$pg_database_test"
}

postgres_down() {
  if ! postgres_pid >/dev/null; then
    say "Postgres is not up"
    return 0
  fi
  pg_choose_user
  pg_find_bin || fail "there is no pg_ctl to stop Postgres with"
  as_pg "$pg_bin/pg_ctl" stop -D "$(readlink -f "$pg_data")" -m fast -w -t "$pg_wait_s" -s </dev/null >&2 ||
    fail "Postgres did not stop within $pg_wait_s s"
  say "Postgres is down"
}
