"""The database: catalog, request log and what was seeded. Off the request path, always.

Rows become domain values here, by hand; no row leaves this package. What must be exact over all workers is not
here: that is `state/`.
"""
