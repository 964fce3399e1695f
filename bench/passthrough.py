"""The yardstick: Flask and requests, the same worker class, nothing else. And a bare hello for the floor.

Served by `gunicorn -k gevent bench.passthrough:app` after gevent's patch (bench/gunicorn.conf.py).
"""

from __future__ import annotations

import os

import requests
from flask import Flask, Response, request

app = Flask(__name__)
session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_connections=10, pool_maxsize=1000))
UPSTREAM = os.environ.get("BENCH_UPSTREAM", "http://127.0.0.1:9999/v1/chat/completions")


@app.get("/hello")
def hello() -> str:
    """The floor."""
    return "hello"


@app.post("/v1/chat/completions")
def forward() -> Response:
    """Parse, forward, answer."""
    body = request.get_json()
    if body.get("stream"):
        upstream = session.post(UPSTREAM, json=body, headers={"Authorization": "Bearer x"}, stream=True, timeout=30)
        return Response(upstream.iter_content(None), content_type="text/event-stream")
    upstream = session.post(UPSTREAM, json=body, headers={"Authorization": "Bearer x"}, timeout=30)
    return Response(upstream.content, upstream.status_code, content_type="application/json")
