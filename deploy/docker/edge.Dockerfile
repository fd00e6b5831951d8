# An agent in a container, for amd64 and arm64; for a Jetson's GPU there is l4t.Dockerfile.
#   docker build -f deploy/docker/edge.Dockerfile -t sparsight-edge .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     --device /dev/video0 --group-add video -v spool:/var/lib/sparsight -v "$PWD/etc:/etc/sparsight:ro" sparsight-edge
# Settings: /etc/sparsight/agent.toml, or -e SPARSIGHT_EDGE_SOURCE__URI=... There is no GStreamer inside: csi:// and
# gst:// want the service of deploy/systemd.

FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY proto proto
COPY shared shared
COPY edge edge
COPY cloud cloud
RUN python -m venv /opt/sparsight \
    && /opt/sparsight/bin/pip install --no-cache-dir --disable-pip-version-check ".[edge]" \
    && rm -rf /opt/sparsight/lib/python3.12/site-packages/pip*

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin sparsight \
    && install -d -o sparsight -m 0750 /var/lib/sparsight
COPY --from=build /opt/sparsight /opt/sparsight
COPY models/default /opt/sparsight/bundle
ENV PATH=/opt/sparsight/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/var/lib/sparsight/numba \
    SPARSIGHT_EDGE_MODEL__BUNDLE=/opt/sparsight/bundle \
    SPARSIGHT_EDGE_SPOOL__FOLDER=/var/lib/sparsight/spool \
    SPARSIGHT_EDGE_REPORT__METRICS_PORT=9101 \
    SPARSIGHT_EDGE_REPORT__LOG_FORMAT=json
WORKDIR /var/lib/sparsight
VOLUME /var/lib/sparsight
USER 10001
STOPSIGNAL SIGTERM
# Healthy is who answers; whether frames move is in what it answers.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9101/metrics', timeout=4)"]
ENTRYPOINT ["sparsight", "edge"]
CMD ["run", "--config", "/etc/sparsight/agent.toml"]
