# Needs only the base images and the crates in Cargo.lock. Works with docker, podman and buildah.
#
#   docker build -t qunfa .
#   docker run --rm qunfa key create                       # prints a key and the sha256:… line for QUNFA_API__KEYS
#   docker run -d --name qunfa -p 127.0.0.1:8080:8080 -v qunfa-data:/data \
#     -e QUNFA_API__KEYS=sha256:… qunfa
#
# The image listens on all addresses, where `serve` refuses an API without a key: QUNFA_API__KEYS is required.
# The configuration is /data/config.toml (or QUNFA_CONFIG); every key can also be set with a variable.

FROM rust:1-bookworm AS builder
WORKDIR /build

# Builds only the dependencies, in a layer that is reused until Cargo.toml or Cargo.lock changes. Empty sources replace
# ours; explicit targets such as [[bench]] are cut from the manifest, because their files are not here yet. Artifacts of
# the empty sources are removed: cargo compares modification times, and ours may be older.
COPY Cargo.toml Cargo.lock ./
RUN awk '/^\[/ { cut = /^\[\[/ } !cut' Cargo.toml > Cargo.cut && mv Cargo.cut Cargo.toml \
    && mkdir src && touch src/lib.rs && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked \
    && cargo clean --release --locked --package qunfa \
    && rm -r src

COPY . .
RUN cargo build --release --locked --bin qunfa


FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="qunfa" \
      org.opencontainers.image.description="The receiver for WeChat mass-send results" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"

# The slim base image has no certificate authorities; outgoing TLS needs them.
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=builder /build/target/release/qunfa /usr/local/bin/qunfa
RUN install -d -o 10001 -g 10001 -m 0700 /data

ENV QUNFA_DATA_DIR=/data \
    QUNFA_SERVER__LISTEN=0.0.0.0:8080
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 CMD ["qunfa", "healthcheck"]
ENTRYPOINT ["qunfa"]
CMD ["serve"]
