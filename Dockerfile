# syntax=docker/dockerfile:1
#
#   docker build --tag omnivec .
#   docker run --publish 127.0.0.1:8000:8000 --volume omnivec:/data --env OMNIVEC_AUTH=off omnivec
#
# PyTorch as pip finds it brings CUDA along: run with `--gpus all` to use it. For CPUs alone an image
# a fraction of the size comes from PyTorch's own index of CPU builds, named with
# `--build-arg PIP_EXTRA_INDEX_URL=…`, which pip reads.

FROM python:3.11-slim-bookworm AS build
ARG PIP_EXTRA_INDEX_URL=
WORKDIR /srv/omnivec
RUN python -m venv .venv
# The dependencies come first, with an empty package in the code's place: this layer stays as long
# as they do.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir app \
    && touch app/__init__.py \
    && .venv/bin/python -m pip install --no-cache-dir --constraint constraints.txt --editable .

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin omnivec \
    && install --directory --owner omnivec --group omnivec --mode 0700 /data
WORKDIR /srv/omnivec
COPY --from=build /srv/omnivec/.venv .venv
COPY LICENSE README.md pyproject.toml alembic.ini ./
COPY models models
COPY migrations migrations
COPY app app
RUN python -m compileall -q app migrations
ENV PATH=/srv/omnivec/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    OMNIVEC_DATA_DIR=/data \
    OMNIVEC_HOST=0.0.0.0 \
    OMNIVEC_LOG_FORMAT=json
# A number, so that an orchestrator sees that it is not root.
USER 10001:10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ.get('OMNIVEC_PORT') or 8000}/healthz\", timeout=4)"]
ENTRYPOINT ["omnivec"]
CMD ["serve"]
