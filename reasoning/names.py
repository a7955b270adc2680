"""How a search is called wherever its score is shown: in tables of `eval` and on the model cards of `training`."""

from typing import Any


def search_name(row: dict[str, Any]) -> str:
    """How an answer was searched for, in words, from a row of results: `greedy`, `best of n of 8 by prm`."""
    scorer = f" by {row['scorer']}" if row["scorer"] else ""
    count = f" of {row['samples']}" if row["samples"] > 1 else ""
    return f"{row['strategy']}{count}{scorer}".replace("_", " ")
