"""The administrator's side: a JSON API (`api/`) and pages (`pages/`)."""
