# shellcheck shell=bash disable=SC2154 # what scripts/services assigns
# Kafka from Maven Central: one process that is broker and controller (KRaft), run by plain java. Sourced by
# scripts/services.

kafka_java_least=17
kafka_wait_s=60
kafka_settings="$root/scripts/kafka"
# For two cores that others use too: a small heap, and a collector with no threads of its own.
kafka_jvm=(-Xms128m -Xmx384m -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError -Djava.awt.headless=true
  "-Dlog4j2.configurationFile=$kafka_settings/log4j2.properties")

kafka_directory() { printf '%s/kafka' "$home"; }
kafka_pid() { process_pid kafka; }
kafka_port() { kept_port kafka; }

kafka_java() {
  if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; then
    printf '%s' "$JAVA_HOME/bin/java"
  else
    command -v java
  fi
}

# The hash of the pom that the archives in `libs` were copied for.
kafka_pom_hash() { sha256sum <"$kafka_settings/pom.xml" | cut -d ' ' -f 1; }

kafka_has_libs() { [ "$(cat "$home/kafka/libs/pom.sha256" 2>/dev/null)" = "$(kafka_pom_hash)" ]; }

kafka_install() {
  local missing=() java version
  kafka_java >/dev/null || missing+=(default-jre-headless)
  kafka_has_libs || command -v mvn >/dev/null || missing+=(maven)
  [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
  java=$(kafka_java) || fail "java is not in PATH"
  version=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
  if ! [[ "$version" =~ ^[0-9]+$ ]] || ((version < kafka_java_least)); then
    fail "$java is version ${version:-unknown}, and Kafka needs $kafka_java_least: install a newer one, or set JAVA_HOME"
  fi
  kafka_has_libs || kafka_fetch
}

# Copies Kafka and all it needs, by way of the local Maven repository. The directory appears when it is complete.
kafka_fetch() {
  local libs="$home/kafka/libs" output
  say "fetching Kafka with Maven"
  rm -rf "$libs.new"
  # The plugin by its full name: its short one would be looked up over the network again and again.
  output=$(mvn -B -q -f "$kafka_settings/pom.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies -DincludeScope=runtime \
    "-DoutputDirectory=$libs.new" 2>&1 </dev/null) || fail "Maven could not fetch Kafka: $output"
  kafka_pom_hash >"$libs.new/pom.sha256"
  rm -rf "$libs"
  mv "$libs.new" "$libs"
}

# What is in the tree, and the ports and the directory of this checkout.
kafka_configure() {
  {
    cat "$kafka_settings/server.properties"
    printf 'listeners=PLAINTEXT://127.0.0.1:%s,CONTROLLER://127.0.0.1:%s\n' "$1" "$2"
    printf 'advertised.listeners=PLAINTEXT://127.0.0.1:%s,CONTROLLER://127.0.0.1:%s\n' "$1" "$2"
    printf 'controller.quorum.bootstrap.servers=127.0.0.1:%s\n' "$2"
    printf 'log.dirs=%s\n' "$home/kafka/data"
  } >"$home/kafka/server.properties"
}

kafka_format() {
  local cluster output
  cluster=$(head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | tr -d '=')
  say "formatting Kafka's storage in $home/kafka/data"
  output=$("$(kafka_java)" "${kafka_jvm[@]}" -cp "$home/kafka/libs/*" kafka.tools.StorageTool format --standalone \
    --ignore-formatted -t "$cluster" -c "$home/kafka/server.properties" 2>&1 </dev/null) ||
    fail "Kafka's storage cannot be formatted: $output"
}

# Kafka says that it has started, and answers a request (ApiVersions, version 0) with the number we gave it (2026).
kafka_ready() {
  local answer
  grep -q 'Kafka Server started' "$home/kafka/server.log" 2>/dev/null || return 1
  answer=$( (
    exec 3<>"/dev/tcp/127.0.0.1/$(kafka_port)"
    printf '\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x07\xea\xff\xff' >&3
    timeout 5 head -c 10 <&3 | od -An -tx1 | tr -d ' \n'
  ) 2>/dev/null) || return 1
  # A length, our number, no error.
  [[ "$answer" =~ ^[0-9a-f]{8}000007ea0000$ ]]
}

kafka_up() {
  local port controller pid
  mkdir -p "$home/kafka"
  if pid=$(kafka_pid); then
    port=$(kafka_port)
    say "Kafka is already up on port $port (process $pid)"
    [ "${UOOP_KAFKA_PORT:-$port}" = "$port" ] || say "UOOP_KAFKA_PORT is $UOOP_KAFKA_PORT: it takes effect after 'down'"
  else
    kafka_install
    port=$(choose_port kafka UOOP_KAFKA_PORT 59092 59101) || exit 1
    controller=$(choose_port kafka-controller "" 59192 59201) || exit 1
    keep_port kafka "$port"
    keep_port kafka-controller "$controller"
    kafka_configure "$port" "$controller"
    [ -f "$home/kafka/data/meta.properties" ] || kafka_format
    process_start kafka "$kafka_wait_s" kafka_ready \
      "$(kafka_java)" "${kafka_jvm[@]}" -cp "$home/kafka/libs/*" kafka.Kafka "$home/kafka/server.properties"
    say "Kafka is up on port $port (data and log in $home/kafka)"
  fi
  printf 'export KAFKA_BROKERS=127.0.0.1:%s\n' "$port"
  printf 'export UOOP_TEST_KAFKA_BROKERS=127.0.0.1:%s\n' "$port"
}

kafka_down() { process_down kafka "$kafka_wait_s"; }
