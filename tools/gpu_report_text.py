"""The GPU report as markdown: figures as lists, rows as tables, whatever the sections hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def render(report: Mapping[str, Any]) -> str:
    lines = [f"# GPU report, {report['began']}", ""]
    if report.get("quick"):
        lines += ["A quick run: it tries the report itself, its figures say little.", ""]
    if targets := report.get("targets"):
        lines += ["## Targets", "", *table(targets), ""]
    for name, found in report["sections"].items():
        lines += [f"## {name[0].upper()}{name[1:]}", "", *section(found)]
    return "\n".join(lines)


def section(found: Mapping[str, Any]) -> list[str]:
    """Plain figures first, then each list of rows under its name."""
    tables = {k: v for k, v in found.items() if is_table(v)}
    lines = [f"- {k.replace('_', ' ')}: {cell(v)}" for k, v in found.items() if k not in tables]
    for name, rows in tables.items():
        lines += ["", f"### {name.replace('_', ' ')}", "", *table(rows)]
    return [*lines, ""]


def is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    titles = list(dict.fromkeys(title for row in rows for title in row))
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    return lines + ["| " + " | ".join(cell(row.get(title)) for title in titles) + " |" for row in rows]


def cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {cell(v)}" for k, v in value.items())
    if isinstance(value, list):
        return "; ".join(map(cell, value)) or "none"
    return str(value).replace("|", "\\|").replace("\n", " ")
