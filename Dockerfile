# Salvor, with the clients of the databases that it dumps. `docker compose build` builds it, or
#
#	docker build --build-arg VERSION="$(git describe --tags --always)" --tag salvor .

FROM --platform=$BUILDPLATFORM golang:1.26.8-trixie AS build
WORKDIR /src
# Modules change seldom: they stay in a layer of their own.
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION
# The history is not sent to the builder, so that the version has to be said.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w${VERSION:+ -X main.version=$VERSION}" -o /out/salvor ./cmd/salvor

FROM debian:trixie-20260803-slim
# tini: the programs that a dump runs leave children of their own, and somebody has to bury them. The user has a name
# because libpq asks for it. The directories are here so that new volumes over them belong to that user.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates mariadb-client postgresql-client redis-tools tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 salvor \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /scratch --shell /usr/sbin/nologin salvor \
 && install -d -o 10001 -g 10001 -m 0700 /archive /scratch /srv/data
COPY --from=build /out/salvor /usr/local/bin/salvor

ARG VERSION
LABEL org.opencontainers.image.title="Salvor" \
      org.opencontainers.image.description="Dumps and restores databases and directories as one coherent set" \
      org.opencontainers.image.version="$VERSION"

# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
# A backupset.yaml that is mounted here is found.
WORKDIR /etc/salvor
VOLUME ["/archive", "/scratch"]
# No HEALTHCHECK: most commands end by themselves, and a worker without its queue waits for it, which no restart betters.
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/salvor"]
CMD ["--help"]
