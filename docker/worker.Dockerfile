# Training and chat: the CUDA build of torch comes with its own CUDA libraries, so a plain Python
# image does; the host needs only the graphics driver and the container toolkit.
FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /tailor

COPY requirements/worker.txt requirements/worker.txt
RUN pip install --require-hashes --no-deps -r requirements/worker.txt
COPY pyproject.toml README.md LICENSE alembic.ini ./
RUN pip install "$(sed -n 's/^ *"\(torch==[^"]*\)",/\1/p' pyproject.toml)"

COPY app app
COPY worker worker
COPY templates templates
COPY static static
COPY migrations migrations
RUN pip install --no-deps --no-build-isolation -e .

RUN useradd --uid 10001 --create-home tailor && install -d -o tailor -g tailor -m 0700 /data
USER tailor
VOLUME /data
CMD ["tailor", "worker"]
