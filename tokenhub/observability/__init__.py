"""What operators see: log lines, metrics, and the drainer that carries receipts from the outbox to the request log.

A *line* is one log record as written; a *receipt* is the domain's; a *batch* is what the drainer takes at once; a
*sink* gets every batch after the log has it. Nothing here decides anything about a request.
"""
