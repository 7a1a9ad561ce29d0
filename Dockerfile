# Bucketwarden as a container: one program, no shell, nobody's root, nothing to write to but /var/lib/bucketwarden.
#
# Arguments: COMMIT and SOURCE say where it comes from, in its labels; BINARY=prebuilt takes target/release/bucketwarden
# as it lies there, linked against glibc 2.36 or older, instead of compiling. README.md, "Container", says how to run it.

ARG BINARY=compiled

# The toolchain that Cargo.toml asks for, on the Debian of the last stage.
FROM docker.io/library/rust:1.95-bookworm AS compiled
ARG COMMIT=unknown
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    BUCKETWARDEN_COMMIT=$COMMIT cargo build --locked --release --bin bucketwarden \
    && install -D target/release/bucketwarden /out/bucketwarden
WORKDIR /out/state

FROM scratch AS prebuilt
COPY target/release/bucketwarden /out/bucketwarden
WORKDIR /out/state

FROM ${BINARY} AS binary

# glibc, libgcc and the CA certificates are all that the program loads, and with them comes no shell and no package
# manager that a breach could use.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG COMMIT=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Bucketwarden" \
      org.opencontainers.image.description="A streaming S3 gateway that gives every user of a platform a private, metered corner of one bucket" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.source=$SOURCE \
      org.opencontainers.image.revision=$COMMIT \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=binary /out/bucketwarden /usr/local/bin/bucketwarden
# Says where the state lies, and nothing else; mount your own over it, or say the rest by BUCKETWARDEN_* variables.
COPY deploy/container.toml /etc/bucketwarden/config.toml
# A new volume takes its owner from here.
COPY --from=binary --chown=65532:65532 /out/state /var/lib/bucketwarden
# By number, so that an orchestrator can see that it is not root.
USER 65532:65532
# Every command looks here for its configuration, and relative paths in it start here.
WORKDIR /etc/bucketwarden
VOLUME /var/lib/bucketwarden
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["/usr/local/bin/bucketwarden", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/bucketwarden"]
CMD ["serve"]
