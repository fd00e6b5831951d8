# An agent in a container on a Jetson with JetPack 6, which brings CUDA, TensorRT 10 and Python 3.10. Built on the board:
#   docker build -f deploy/docker/l4t.Dockerfile -t sparsight-edge:l4t .
#   docker run --runtime nvidia --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     -v cache:/var/cache/sparsight -v "$PWD/fp16:/opt/sparsight/bundle:ro" sparsight-edge:l4t \
#     build --bundle /opt/sparsight/bundle --plans /var/cache/sparsight/tensorrt
#   docker run --runtime nvidia --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --group-add video \
#     -v /tmp/argus_socket:/tmp/argus_socket -v cache:/var/cache/sparsight -v spool:/var/lib/sparsight \
#     -v "$PWD/fp16:/opt/sparsight/bundle:ro" -v "$PWD/etc:/etc/sparsight:ro" sparsight-edge:l4t
# Settings: /etc/sparsight/agent.toml, to begin with deploy/jetson/orin-nano.toml. Never built and never run on a board.

FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0 AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY proto proto
COPY shared shared
COPY edge edge
COPY cloud cloud
# TensorRT's bindings are a package of the system, which the environment sees.
RUN python3 -m venv --system-site-packages /opt/sparsight \
    && /opt/sparsight/bin/pip install --no-cache-dir --disable-pip-version-check ".[edge,tensorrt]" \
    && rm -rf /opt/sparsight/lib/python3.10/site-packages/pip*

FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0
# csi:// and gst:// are GStreamer's; nvarguscamerasrc itself comes from the board, through the nvidia runtime.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends \
        gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin sparsight \
    && install -d -o sparsight -m 0750 /var/lib/sparsight /var/cache/sparsight
COPY --from=build /opt/sparsight /opt/sparsight
ENV PATH=/opt/sparsight/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/var/cache/sparsight/numba \
    SPARSIGHT_EDGE_MODEL__BUNDLE=/opt/sparsight/bundle \
    SPARSIGHT_EDGE_MODEL__ENGINE=tensorrt \
    SPARSIGHT_EDGE_MODEL__PLANS=/var/cache/sparsight/tensorrt \
    SPARSIGHT_EDGE_SPOOL__FOLDER=/var/lib/sparsight/spool \
    SPARSIGHT_EDGE_REPORT__METRICS_PORT=9101 \
    SPARSIGHT_EDGE_REPORT__LOG_FORMAT=json
WORKDIR /var/lib/sparsight
VOLUME ["/var/lib/sparsight", "/var/cache/sparsight"]
USER 10001
STOPSIGNAL SIGTERM
# Healthy is who answers; whether frames move is in what it answers.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9101/metrics', timeout=4)"]
ENTRYPOINT ["sparsight", "edge"]
CMD ["run", "--config", "/etc/sparsight/agent.toml"]
