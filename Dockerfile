FROM python:3.11-slim-bookworm

RUN useradd --uid 1000 --create-home meterloop \
    && install -d -o meterloop /var/lib/meterloop
WORKDIR /srv/meterloop
COPY requirements-distributed.lock pyproject.toml ./
RUN pip install --no-cache-dir --require-hashes -r requirements-distributed.lock
COPY protocols protocols
COPY simulators simulators
COPY edge edge
COPY cloud cloud
COPY billing billing
COPY portal portal
COPY meterloop meterloop
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e .
USER meterloop
ENTRYPOINT []
CMD ["meterloop", "--help"]
