# The cloud: a gateway, or a node of the Ray cluster that computes; both from this one image.
#   docker build -f deploy/docker/cloud.Dockerfile -t sparsight-cloud .
#   docker run --read-only --tmpfs /tmp --shm-size 1g --cap-drop ALL --security-opt no-new-privileges \
#     -p 7443:7443 -v "$PWD/pki:/etc/sparsight/pki:ro" -v results:/var/lib/sparsight sparsight-cloud
# Torch comes from your index, with CUDA if that is its default; for CPUs alone, which is 2 GB less, give its CPU
# index: --build-arg PIP_EXTRA_INDEX_URL=... The keys in pki/ must be readable by user 10001.

FROM python:3.12-slim-bookworm AS build
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY proto proto
COPY shared shared
COPY edge edge
COPY cloud cloud
RUN python -m venv /opt/sparsight \
    && /opt/sparsight/bin/pip install --no-cache-dir --disable-pip-version-check ".[cloud]" \
    && rm -rf /opt/sparsight/lib/python3.12/site-packages/pip*

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin sparsight \
    && install -d -o sparsight -m 0750 /var/lib/sparsight /etc/sparsight/pki
COPY --from=build /opt/sparsight /opt/sparsight
COPY models/default /opt/sparsight/bundle
# Ray's own files go below /tmp/ray, and it looks up its user's home.
ENV PATH=/opt/sparsight/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    RAY_USAGE_STATS_ENABLED=0
WORKDIR /var/lib/sparsight
VOLUME /var/lib/sparsight
USER 10001
EXPOSE 7443
STOPSIGNAL SIGTERM
# A model takes a while to load.
HEALTHCHECK --interval=30s --timeout=15s --start-period=180s \
    CMD ["sparsight", "cloud", "health", "127.0.0.1:7444"]
ENTRYPOINT ["sparsight"]
CMD ["cloud", "up", "--bundle", "/opt/sparsight/bundle", "--pki", "/etc/sparsight/pki", "--out", "/var/lib/sparsight", \
     "--listen", "0.0.0.0:7443", "--health", "127.0.0.1:7444", "--metrics", "127.0.0.1:9100"]
