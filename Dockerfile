# The image that the Helm chart runs. Not built by the project's tests: they have no container runtime.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin valmis

# The system's certificate authorities, against which probes verify; the user and group that the chart runs as.
FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && install --directory --owner=65532 --group=65532 /var/lib/valmis
COPY --from=build /src/target/release/valmis /usr/local/bin/valmis
USER 65532:65532
EXPOSE 9797
ENTRYPOINT ["/usr/local/bin/valmis"]
