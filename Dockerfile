# Rota in a small image: no root, nothing that is written outside /data and /tmp.
#   docker build -t rota .
#   docker run --rm -p 127.0.0.1:8000:8000 -v rota:/data -e ROTA_TOKEN_FILE=/data/admin.token rota serve --host 0.0.0.0
# PYTHON_IMAGE is any image with Python 3.11 or newer, its venv module, and bash.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python3 -m venv /tools && /tools/bin/pip install --quiet --disable-pip-version-check --no-cache-dir uv
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY src src
# Exactly the locked versions, compiled: the running system cannot write bytecode.
RUN UV_PROJECT_ENVIRONMENT=/opt/rota /tools/bin/uv sync --quiet --frozen --no-dev --no-editable --compile-bytecode \
      --no-python-downloads --all-extras

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/rota /opt/rota
RUN mkdir /data /keys && chown 10001:10001 /data /keys
ENV PATH=/opt/rota/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
# Numbers, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /data
EXPOSE 8000
ENTRYPOINT ["rota"]
CMD ["serve", "--host", "0.0.0.0"]
