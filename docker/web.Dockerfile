# The pages: no torch in here, so the image is small and starts in a second.
FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /tailor

COPY requirements/web.txt requirements/web.txt
RUN pip install --require-hashes --no-deps -r requirements/web.txt

COPY pyproject.toml README.md LICENSE alembic.ini ./
COPY app app
COPY templates templates
COPY static static
COPY migrations migrations
RUN pip install --no-deps --no-build-isolation -e .

RUN useradd --uid 10001 --create-home tailor && install -d -o tailor -g tailor -m 0700 /data
USER tailor
VOLUME /data
EXPOSE 8000
CMD ["tailor", "web"]
