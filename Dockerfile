# The service of headstart, without PyTorch. How to build and run it: docs/deploy.md.
FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HEADSTART_OFFLINE=1 \
    HEADSTART_CACHE=/tmp/headstart
COPY --from=build /wheels /wheels
# By its path, so that no package of that name on an index can take its place.
RUN set -- /wheels/*.whl \
    && pip install --no-cache-dir --only-binary :all: "$1[serve]" \
    && rm -r /wheels \
    && groupadd --system --gid 10001 headstart \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent headstart
USER 10001:10001
WORKDIR /models
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=2)"]
ENTRYPOINT ["headstart", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["/models"]
