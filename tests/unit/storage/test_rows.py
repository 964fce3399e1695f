from __future__ import annotations

from flask import Flask
from sqlalchemy import select

from tokenhub.domain.catalog import Provider
from tokenhub.storage.catalog_store import SqlCatalogStore
from tokenhub.storage.rows import ProviderRow, db


def test_flasks_own_session_reads_the_same_rows(database, path):
    SqlCatalogStore(database).save_provider(Provider("acme", "openai"))
    app = Flask("commands")
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{path}"
    db.init_app(app)
    with app.app_context():
        assert [row.id for row in db.session.scalars(select(ProviderRow))] == ["acme"]
        db.session.remove()
        db.engine.dispose()
