# Image of crucible-batch. Build it in a clone: docker build -t crucible-batch .
# docs/container.md describes how to run it: any user id, a read-only root, one volume at /data.
# The digest is that of all platforms, from Docker's own record of its images (docs/releasing.md).
FROM python:3.13-slim@sha256:9662417aace5ae7b8e2609cce472b72a8958e134ba372808abe9cc1a0c0125e6 AS base

FROM base AS build
WORKDIR /src
# Dependencies and build backend have their hashes in the locks.
COPY requirements/build.txt requirements/run.txt requirements/
RUN python -m venv /opt/crucible-batch \
    && /opt/crucible-batch/bin/pip install --quiet --no-cache-dir --require-hashes --no-deps -r requirements/run.txt \
    && pip install --quiet --no-cache-dir --require-hashes --no-deps -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY crucible_batch crucible_batch
COPY manifests manifests
# The wheel is installed, not the source, so that the image has what a release has.
RUN pip wheel --quiet --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/crucible-batch/bin/pip install --quiet --no-cache-dir --no-deps "$(echo /wheels/*.whl)"

FROM base
LABEL org.opencontainers.image.title="crucible-batch" \
      org.opencontainers.image.description="Run a YAML manifest of image jobs on the Crucible gateway: spend capped and proven, resumable, reported." \
      org.opencontainers.image.licenses="MIT"
# A number and not a name, so that Kubernetes can verify runAsNonRoot.
RUN groupadd --gid 10001 batch \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin batch \
    && install --directory --owner=10001 --group=10001 --mode=0770 /data
# cron is started by compose.yaml only. It mails what runs print, and the mail is shown in the log of the container.
# Its version is not pinned: Debian's index has only the newest fix of it, so a pinned one could no longer be installed.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cron \
    && rm -rf /var/lib/apt/lists/* \
    && printf '#!/bin/sh\nexec sed "1,/^$/d" >&2\n' > /usr/sbin/sendmail \
    && chmod 755 /usr/sbin/sendmail
COPY --from=build /opt/crucible-batch /opt/crucible-batch
# All that is written is below /data: outputs, the state of runs, and the accounts of budget periods.
ENV PATH=/opt/crucible-batch/bin:$PATH \
    HOME=/data \
    XDG_STATE_HOME=/data/state \
    CRUCIBLE_BATCH_ACCOUNTS=/data/accounts \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /data
VOLUME /data
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["crucible-batch"]
CMD ["--help"]
