# Untested: no container engine was at hand where this was written. Build: docker build -t tokenhub .
# Run: docker run -p 8080:8080 -v tokenhub:/data tokenhub
FROM python:3.11-slim

WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --require-hashes -r requirements.txt

COPY . .
RUN useradd --system --no-create-home tokenhub && install -d -m 0700 -o tokenhub /data
USER tokenhub

ENV PYTHONDONTWRITEBYTECODE=1 TOKENHUB_DATA_DIR=/data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
CMD ["gunicorn", "-c", "gunicorn.conf.py"]
