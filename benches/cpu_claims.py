"""The CPU path's claims, measured and held to their limits: `make bench-cpu-claims`.

    python benches/cpu_claims.py [--only NAME]... [--json PATH]

Each HOLDS or is FALSIFIED, and one that is falsified makes the process end with status 1. Contenders of a ratio
alternate, and figures are medians of at least five alternations (later starts: of three). `others` are the cores that
other programs kept busy meanwhile: above 0.1, a time says little. kernel_claims.py and process_claims.py hold what is
measured.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, when run as a script

from benches import kernel_claims, process_claims
from benches.harness import Column, Report, Row, Table, describe, machine
from benches.neighbours import TOO_MUCH, Neighbours

CLAIMS = kernel_claims.CLAIMS | process_claims.CLAIMS
TABLE = Table(
    (
        Column("claim", 16),
        Column("measured", 64),
        Column("limit", 10),
        Column("figure", 10),
        Column("verdict", 9),
        Column("others", 6, ".2f"),
        Column("detail", 0),
    )
)


def measure(name: str) -> Iterator[Row]:
    """The rows of one claim. Children are not told from other programs, so `others` is None where there are any."""
    neighbours = Neighbours()
    for finding in CLAIMS[name]():
        others = None if name in process_claims.CLAIMS else neighbours.cores()
        yield {"claim": name, "others": others} | finding.row()
        neighbours = Neighbours()


def show(row: Row) -> str:
    unit = f" {row['unit']}" if row["unit"] else ""
    limit, figure = f"{row['sign']} {row['limit']:g}{unit}", f"{row['figure']:.3g}{unit}"
    return TABLE.line((row["claim"], row["what"], limit, figure, row["verdict"], row["others"], row["detail"]))


@click.command()
@click.option("--only", "names", multiple=True, type=click.Choice(list(CLAIMS)), help="Default: all.")
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path), help="Write every measurement here.")
def main(names: tuple[str, ...], output: Path | None) -> None:
    """Try to falsify what is claimed of the CPU path."""
    about = machine()
    report = Report(output, {"bench": "cpu_claims", "machine": about})
    click.echo(describe(about))
    click.echo(TABLE.header())
    for name in names or CLAIMS:
        for row in measure(name):
            report.add(row)
            click.echo(show(row))
    falsified = [row for row in report.rows if row["verdict"] != "HOLDS"]
    busy = [row for row in report.rows if (row["others"] or 0) > TOO_MUCH]
    if busy:
        click.echo(f"{len(busy)} rows were measured beside other work: run those again on a quiet machine")
    click.echo(f"{len(report.rows) - len(falsified)} of {len(report.rows)} claims hold")
    sys.exit(bool(falsified))


if __name__ == "__main__":
    main()
