"""/admin/v1/logs: the receipts of all callers, as they were written."""

from __future__ import annotations

from flask import Response
from marshmallow import fields, validate

from blueprints.admin.api.resource import MAX_PAGE, Paging, Resource, Strict, answer
from blueprints.services import services

USUAL_PAGE = 100

resource = Resource("logs", __name__, "The request log")


class LogPaging(Paging):
    """Which part of the log to give; receipts are large, so fewer by default."""

    limit = fields.Integer(load_default=USUAL_PAGE, validate=validate.Range(1, MAX_PAGE))


class LogPage(Strict):
    """A page of receipts, newest first."""

    logs = fields.List(fields.Dict())
    limit = fields.Integer()
    offset = fields.Integer()


@resource.serves("GET", "", gives=LogPage, query=LogPaging)
def list_logs(paging: dict[str, int]) -> Response:
    """List receipts, newest first."""
    return answer({"logs": services().logs.page(**paging), **paging})
