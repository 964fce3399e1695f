"""What must be exact over all workers: keys, budgets, rates, open records, the outbox, leases, the catalog epoch.

`schema.py` holds the tables, `ledger.py` and `key_table.py` the statements, written once for every database; a driver
such as `sqlite.py` only runs them. Nothing slow or large is kept here: logs and statistics are in `storage/`.
"""
