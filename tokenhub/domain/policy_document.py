"""`docs/policy.md`, printed from the policy table: `python -m tokenhub.domain.policy_document > docs/policy.md`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenhub.domain.policy import CEILINGS, LEVELS, TABLE, Level

INTRODUCTION = """\
# Policy: what a request may cost, and which models may answer it

Printed from the table in the code (`python -m tokenhub.domain.policy_document > docs/policy.md`): do not edit.

Each knob has one value for a request. It is the default below, unless one of these sets it; a later one replaces an
earlier one:
"""

HARDNESS = """\
What the environment and the administrator set, and the defaults, are wishes: they are put aside where nothing else
would be left, so that an ordinary request is never refused for them. What a key or a request sets is a demand: no
model within it, no answer (400, with a reason for each model). The receipt (`GET /v1/decisions/<id>`) says under
`policy` which value counted and who set it: `default`, `server`, `admin`, `key`, `header`, `request` or `key_ceiling`.

In a body the knobs stand under `tokenhub` (OpenAI's and Anthropic's dialects; `extra_body` in the SDKs) or `policy`
(`/v1/chat`):

```json
{"model": "auto", "messages": [], "tokenhub": {"mode": "cheap", "max_budget_usd": 0.01, "fallback": ["a", "b"]}}
```

Not there yet, and refused wherever it is asked for: mode `thompson`.
"""

CEILINGS_OF_KEYS = """\
## Ceilings of a key

A key's `policy_ceilings` are applied last, whoever set the value, and are demands: where a wish is put aside, the
ceiling still holds. A request that asks for more is not refused, it is brought down to the ceiling (`key_ceiling` on
the receipt).
"""


def document() -> str:
    """The text of `docs/policy.md`."""
    levels = "".join(f"{number}. `{name}`: {told}\n" for number, (name, told) in enumerate(LEVELS.items(), 1))
    knobs = _table(
        ("Knob", "Unit", "Takes", "Default", "Meaning"),
        ((f"`{k.name}`", k.unit, k.accepted, f"`{k.default_text}`", k.about) for k in TABLE),
    )
    names = _table(
        ("Knob", *(f"`{level}`" for level in LEVELS)),
        ((f"`{k.name}`", *(_name_at(level, k.name) for level in LEVELS)) for k in TABLE),
    )
    ceilings = _table(("Knob", "Ceiling"), ((f"`{name}`", ceiling.about) for name, ceiling in CEILINGS.items()))
    parts = (INTRODUCTION, levels, HARDNESS, "## The knobs\n", knobs, "## Its name at each level\n", names)
    return "\n".join((*parts, CEILINGS_OF_KEYS, ceilings))


def _name_at(level: Level, name: str) -> str:
    knob = next(knob for knob in TABLE if knob.name == name)
    if level not in knob.levels:
        return "-"
    special = {"server": knob.variable, "admin": f"default_{name}", "header": knob.header}
    return f"`{special.get(level, name)}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (head, ["-" * len(title) for title in head], *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    print(document(), end="")
