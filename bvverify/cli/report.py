"""The command `bvverify report`."""

from pathlib import Path
from typing import Annotated

import typer

from bvverify.cli.output import out as console
from bvverify.cli.output import write_json, write_lines
from bvverify.errors import UsageError
from bvverify.exit_codes import reported


def report(
    results: Annotated[Path, typer.Argument(help="Results file that `bvverify run` made; it may still be running.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the files; made if there is none.")] = Path("report"),
) -> None:
    """Show a results file: as a web page, and as tables for programs.

    Written are index.html (one file that opens anywhere, with figures and pictures of counterexamples), results.csv
    and results.json (every query with its verdict), and junit.xml for continuous integration: violated queries are
    failures, unknown ones skipped. Files of an earlier report are replaced.

    Exit codes: 0 written, whatever the verdicts say, 2 usage.
    """
    with reported():
        from bvverify.report.exports import csv_lines, results_as_json
        from bvverify.report.junit import junit_lines
        from bvverify.report.results import read_results
        from bvverify.report.results_page import results_page
        from bvverify.report.tables import counts_table
        from bvverify.runs.store import Store

        with Store(results, create=False) as store:
            found = read_results(store, file=results.name)
            page = list(results_page(found, store.counterexample))
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{out}: cannot be made a folder ({error.strerror})") from error
        write_lines(out / "index.html", page)
        write_lines(out / "results.csv", csv_lines(found))
        write_json(out / "results.json", results_as_json(found))
        write_lines(out / "junit.xml", junit_lines(found))
        console.print(counts_table(found))
        for name in ("index.html", "results.csv", "results.json", "junit.xml"):
            console.print(str(out / name), markup=False, highlight=False, soft_wrap=True)
