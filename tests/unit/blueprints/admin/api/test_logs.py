from __future__ import annotations

from blueprints.admin.api import logs

PATH = "/admin/v1/logs"


def test_an_empty_log_is_an_empty_list(client):
    assert client.get(PATH).json == {"logs": [], "limit": 100, "offset": 0}


def test_receipts_are_newest_first_and_whole(client, hub):
    receipts = [{"id": f"dec_{n}", "created_at_ms": n, "attempts": [{"model": "m"}]} for n in range(5)]
    hub.log.write(receipts)
    page = client.get(PATH + "?limit=2&offset=1").json
    assert logs.LogPage().validate(page) == {}
    assert page == {"logs": [receipts[3], receipts[2]], "limit": 2, "offset": 1}


def test_an_odd_receipt_does_not_hide_the_page(client, hub):
    odd = {"id": "odd", "created_at_ms": 1, "usage": {"input_tokens": 10**30}, "note": "\ud800"}
    hub.log.write([odd, {"id": "ok", "created_at_ms": 2}])
    page = client.get(PATH).json
    assert [receipt["id"] for receipt in page["logs"]] == ["ok", "odd"]
