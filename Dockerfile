# A small image of the one binary. Build: docker build -t uoop .
# Run: docker run -p 8080:8080 -v uoop-data:/data -e UOOP_PARTICIPANTS__PAYMENTS_URL=https://… \
#        -e UOOP_PARTICIPANTS__KITCHENS_URL=https://… uoop

# This image has what the C libraries are built with (librdkafka: gcc, g++, make, libssl-dev); of a slim one, install those
# first.
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# The caches keep dependencies between builds; the binary leaves them because a cache is not part of a layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin uoop --features kafka-tls \
    && cp target/release/uoop /usr/local/bin/uoop

FROM debian:bookworm-slim
# Certificates: partners and payment providers are called over TLS. OpenSSL: Kafka is, too.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin uoop \
    && install -d -o uoop -g uoop -m 750 /data
COPY --from=build /usr/local/bin/uoop /usr/local/bin/uoop
USER 10001:10001
VOLUME /data
EXPOSE 8080
# The status line of /livez, over bash's own sockets: the image holds no curl.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /livez HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && read -r -t 2 _ code _ <&3 && [ \"$code\" = 200 ]"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["uoop", "serve", "--host", "0.0.0.0", "--data-dir", "/data", "--profile", "production"]
