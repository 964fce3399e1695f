"""`python -m tests.faults [WORD ...]`: try every row (or those that have one of the words) with its full figures, and
print the table. Exit code 1 where one does not hold. Takes about a quarter of an hour; leave the machine alone."""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
import traceback
from collections.abc import Mapping
from typing import Any

from tests.faults.rows import FULL, Row, fast, site
from tests.faults.site import Skipped

WIDTHS = (5, 34, 38, 58, 4)


def tried(row: Row, arguments: Mapping[str, Any]) -> tuple[str, str]:
    """What was seen, and "yes", "NO" or "skip"."""
    try:
        with site() as here:
            return row.run(here, **arguments), "yes"
    except Skipped as why:
        return str(why), "skip"
    except Exception as failure:
        traceback.print_exc()
        return f"{type(failure).__name__}: {failure}"[:300], "NO"


def printed(*columns: str) -> None:
    """One row of the table, in as many lines as it needs."""
    cells = [textwrap.wrap(text, width) or [""] for text, width in zip(columns, WIDTHS, strict=True)]
    for number in range(max(map(len, cells))):
        texts = [cell[number] if number < len(cell) else "" for cell in cells]
        print(
            "| " + " | ".join(text.ljust(width) for text, width in zip(texts, WIDTHS, strict=True)) + " |", flush=True
        )


def main() -> int:
    """Try and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("word", nargs="*", help="such as F21, gone, start")
    parser.add_argument("--fast", action="store_true", help="the forms of `make test`")
    chosen = parser.parse_args()
    rows = fast(FULL) if chosen.fast else FULL
    rows = [row for row in rows if not chosen.word or any(word in str(row) for word in chosen.word)]
    printed("row", "injected", "expected", "seen", "pass")
    printed(*("-" * width for width in WIDTHS))
    passes, started = [], time.monotonic()
    for row in rows:
        seen, passed = tried(row, row.fast or {} if chosen.fast else row.full)
        printed(row.name, row.injected, row.expected, seen, passed)
        passes.append(passed)
    print(f"{passes.count('yes')} passed, {passes.count('NO')} failed, {passes.count('skip')} skipped")
    print(f"in {time.monotonic() - started:.0f} s")
    return int("NO" in passes)


if __name__ == "__main__":
    sys.exit(main())
