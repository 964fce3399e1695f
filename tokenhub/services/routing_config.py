"""The routing defaults that an administrator sets at run time: between those of the server and those of a key.

Named as in the README: `default_` and the name of the policy table's row. A reload of the environment changes what is
under them, never them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tokenhub.domain.policy import Policy, merge, readers
from tokenhub.domain.ports import CatalogStore, State
from tokenhub.errors import InvalidRequest
from tokenhub.services import rules

PREFIX = "default_"
RULES: dict[str, rules.Rule] = {PREFIX + name: rules.optional(read) for name, read in readers("admin").items()}


class RoutingConfigService:
    """Shows and changes the routing defaults. Blocks on the database: for administration only."""

    def __init__(self, store: CatalogStore, state: State, server: Callable[[], Policy]) -> None:
        """`server`: what the server's settings say at the moment."""
        self._store = store
        self._state = state
        self._server = server

    def read(self) -> Policy:
        """The defaults that count, and who set each."""
        return laid_over(self._server(), self._store.routing_defaults())[0]

    def change(self, values: Mapping[str, Any]) -> Policy:
        """Set the given defaults; null gives one back to the server. Raises InvalidRequest."""
        rules.check(values, RULES)
        if values:
            self._store.save_routing_defaults({name.removeprefix(PREFIX): value for name, value in values.items()})
            self._state.move_epoch()
        return self.read()


def laid_over(server: Policy, stored: Mapping[str, Any]) -> tuple[Policy, list[str]]:
    """The administrator's defaults over the server's, and the names of those that this version cannot read, which are
    left out: one bad row must not keep a worker from the rest."""
    policy, unread = server, []
    for name, value in stored.items():
        try:
            policy = merge(policy, "admin", {name: value})
        except InvalidRequest:
            unread.append(name)
    return policy, unread
