"""HTTP only: parse, call one service, present. The whole URL map is on this screen.

POST /v1/chat/completions            chat/openai.py       OpenAI dialect, streamed or not
POST /v1/messages                    chat/anthropic.py    Anthropic dialect, streamed or not
POST /v1/messages/count_tokens       chat/anthropic.py    the estimate that routing goes by
POST /v1/chat                        chat/native.py       TokenHub's own body
GET  /v1/models, /v1/models/<id>     chat/models.py       in either dialect
GET  /v1/decisions/<id>              chat/decisions.py    the receipt, for its key's owner
GET  /healthz, /readyz               probes.py            (/metrics is mounted by observability/metrics.py)
*    /admin/v1/...                   admin/api/           one module per resource
GET  /, /admin/                      admin/pages/         one module per screen
"""

from __future__ import annotations

from flask import Flask

from blueprints import errors, probes
from blueprints.admin.api import register_admin_api
from blueprints.admin.pages import register_pages
from blueprints.chat import anthropic, decisions, models, native, openai


def register_all(app: Flask) -> None:
    """Mount every route and error renderer."""
    for blueprint in (openai.bp, anthropic.bp, native.bp, models.bp, decisions.bp, probes.bp):
        app.register_blueprint(blueprint)
    register_admin_api(app)
    register_pages(app)
    errors.register(app)
