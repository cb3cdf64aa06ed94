# The daemon alone: no compiler, no node, no key. Strategies and configuration are the operator's own and are mounted.
FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements-run.lock pyproject.toml README.md LICENSE ./
COPY keeper keeper
RUN python -m venv /opt/keeper \
 && /opt/keeper/bin/pip install --no-cache-dir --require-hashes -r requirements-run.lock \
 && /opt/keeper/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 keeper && install -d -o keeper /keeper/state
COPY --from=build /opt/keeper /opt/keeper
COPY --chown=keeper strategies /keeper/strategies
COPY --chown=keeper config /keeper/config
USER keeper
WORKDIR /keeper
VOLUME /keeper/state
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/keeper/bin/keeper"]
CMD ["run", "-c", "config/keeper.toml"]
