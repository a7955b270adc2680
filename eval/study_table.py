"""A study's figures (`eval/study.py`) as Markdown."""

from collections.abc import Sequence
from typing import Any

from eval.metrics import accuracy


def table(facts: dict[str, Any]) -> str:
    """The study as Markdown: one table per evaluation, scores in percent, differences in points."""
    lines = [
        f"# {facts['study']}",
        "",
        f"Seeds {facts['seeds']}; a difference to `{facts['baseline']}` counts from {100 * facts['margin']:g} points on.",
    ]
    for evaluation in facts["evaluations"]:
        lines += ["", f"## {evaluation['evaluation']} (n {evaluation['n']} per seed)", ""]
        lines += [
            "| arm | swept value | score [95 %] | by seed | difference [95 %] | verdict | tokens | effective ratio |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for arm, a in evaluation["arms"].items():
            spent, value = facts["spent"][arm], f"{facts['chosen'][arm]:g}" if arm in facts["chosen"] else "–"
            ratio = [s["effective_ratio"] for s in spent if "effective_ratio" in s]
            lines.append(
                f"| {arm} | {value} | {_span(a['score'], a['ci95'])} | {', '.join(f'{100 * s:.1f}' for s in a['by_seed'])} "
                f"| {_span(a['difference'], a['difference_ci95'], '+')} | {'baseline' if arm == facts['baseline'] else a['verdict']} "
                f"| {accuracy([s['tokens'] for s in spent]):,.0f} | {f'{accuracy(ratio):.2f}' if ratio else '–'} |"
            )
    lines += _search_lines(facts) + _error_lines(facts["errors"])
    return "\n".join(lines) + "\n"


def _search_lines(facts: dict[str, Any]) -> list[str]:
    """Strategies against the first of their place. Tokens are those of an item: of the policy, and of it and the scorer together."""
    lines: list[str] = []
    for place, strategies in facts["searches"].items():
        first = next(iter(strategies))
        lines += ["", f"## Searches of `{facts['baseline']}`: {place}", ""]
        lines += [
            f"| strategy | score [95 %] | difference to {first} [95 %] | verdict | tokens of the policy | with the scorer's |",
            "|---|---|---|---|---|---|",
        ]
        for name, s in strategies.items():
            verdict, tokens = "first" if name == first else s["verdict"], s["tokens"]
            lines.append(
                f"| {name} | {_span(s['score'], s['ci95'])} | {_span(s['difference'], s['difference_ci95'], '+')} | {verdict} "
                f"| {tokens['total']:,.0f} | {tokens['total'] + tokens['scorer_total']:,.0f} |"
            )
    return lines


def _error_lines(errors: dict[str, Any]) -> list[str]:
    """What process reward models find on held-out solutions."""
    if not errors:
        return []
    lines = [
        "",
        "## First errors found, on held-out solutions",
        "",
        "| arm | step AUROC | pairs | of perception (n) | of reasoning (n) |",
        "|---|---|---|---|---|",
    ]
    for arm, e in errors.items():
        kinds = " | ".join(f"{100 * e[kind]['found']:.1f} % ({e[kind]['n']:,.0f})" for kind in ("perception", "reasoning"))
        lines.append(f"| {arm} | {e['auroc']:.3f} | {'–' if e['pairs'] is None else format(e['pairs'], '.2f')} | {kinds} |")
    return lines


def _span(value: float, ends: Sequence[float], sign: str = "") -> str:
    return f"{100 * value:{sign}.1f} [{100 * ends[0]:{sign}.1f}, {100 * ends[1]:{sign}.1f}]"
