"""Secrets: how they are sealed, compared, kept in files and kept out of logs. No policy on who may do what: that is in
`services/callers.py` and `blueprints/guards.py`."""
