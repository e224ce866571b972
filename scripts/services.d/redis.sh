# shellcheck shell=bash disable=SC2154 # what scripts/services assigns
# Redis, as a cache: bounded, and nothing of it is kept. Sourced by scripts/services.

redis_memory=256mb
redis_wait_s=20

# Debian's package would start a server of its own on port 6379, now and whenever the machine does; nobody asked for it.
redis_install() {
  (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
      trap 'as_root rm -f "$policy"' EXIT
      printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
      as_root chmod 755 "$policy"
    fi
    apt_install redis-server
  )
  as_root deb-systemd-helper disable redis-server.service >/dev/null 2>&1 || true
  command -v redis-server >/dev/null || fail "redis-server is installed, but not in PATH"
}

redis_directory() { printf '%s/redis' "$home"; }
redis_pid() { process_pid redis; }
redis_port() { kept_port redis; }

redis_ready() {
  local answer
  answer=$( (
    exec 3<>"/dev/tcp/127.0.0.1/$(redis_port)"
    printf 'PING\r\n' >&3
    read -r -t 2 line <&3
    printf '%s' "$line"
  ) 2>/dev/null) || return 1
  [ "$answer" = $'+PONG\r' ]
}

redis_up() {
  local port pid
  command -v redis-server >/dev/null || redis_install
  mkdir -p "$home/redis"
  if pid=$(redis_pid); then
    port=$(redis_port)
    say "Redis is already up on port $port (process $pid)"
    [ "${UOOP_REDIS_PORT:-$port}" = "$port" ] || say "UOOP_REDIS_PORT is $UOOP_REDIS_PORT: it takes effect after 'down'"
  else
    port=$(choose_port redis UOOP_REDIS_PORT 56379 56388) || exit 1
    keep_port redis "$port"
    process_start redis "$redis_wait_s" redis_ready \
      redis-server --bind 127.0.0.1 --port "$port" --dir "$home/redis" --save '' --appendonly no \
      --maxmemory "$redis_memory" --maxmemory-policy allkeys-lru --daemonize no
    say "Redis is up on port $port (log in $home/redis)"
  fi
  printf 'export REDIS_URL=redis://127.0.0.1:%s\n' "$port"
  printf 'export UOOP_TEST_REDIS_URL=redis://127.0.0.1:%s\n' "$port"
}

redis_down() { process_down redis "$redis_wait_s"; }
