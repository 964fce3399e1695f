from gevent import monkey; monkey.patch_all()  # fmt: skip
# ruff: noqa: D100, E402, E702, I001, UP036 - the first line must run before anything else is imported
# What gunicorn's workers load.

from app import create_app

application = create_app()
