"""`edge-ser corpora`: which corpora there are, whether yours are sound, and how to get them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_ser.cli.app import app
from edge_ser.cli.options import DataOption
from edge_ser.cli.output import output_console
from firmware_host.errors import EdgeSerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import ProgressColumn

    from edge_ser.corpora.verify import CorpusReport, Finding

EXIT_UNEXPECTED = 1  # the check ran, and found what it should not
FILES_SHOWN = 6  # of a finding; --json has them all

corpora_app = typer.Typer(
    help="The corpora of emotional speech: list, verify and download them.", no_args_is_help=True
)
app.add_typer(corpora_app, name="corpora")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON array.")]


@corpora_app.command("list")
def list_corpora(data: DataOption = None, as_json: AsJson = False) -> None:
    """List the corpora, their terms, and which of them are under --data.

    Example: edge-ser corpora list --data ~/corpora
    """
    from edge_ser.corpora import CORPORA, DATA_VARIABLE, corpora_root

    try:
        root = corpora_root(data)
    except EdgeSerError:
        if data is not None:
            raise
        root = None  # nothing was said of a folder: the list is useful without
    rows: list[dict[str, Any]] = []
    for corpus in CORPORA.values():
        folder = corpus.folder(root) if root else None
        rows.append(
            {
                "name": corpus.name,
                "title": corpus.title,
                "language": corpus.language,
                "speakers": len(corpus.speakers),
                "emotions": list(corpus.emotions),
                "files": corpus.n_files,
                "terms": corpus.terms,
                "home_page": corpus.home_page,
                "citation": corpus.citation,
                "how_to_get": corpus.how_to_get,
                "downloads": corpus.archive is not None,
                "folder": str(folder) if folder else None,
            }
        )
    if as_json:
        print(json.dumps(rows, indent=2))
        return

    from rich.table import Table

    table = Table("corpus", "language", "speakers", "files", "emotions", "terms", "here?")
    for row in rows:
        table.add_row(
            row["name"],
            row["language"],
            str(row["speakers"]),
            str(row["files"]),
            " ".join(row["emotions"]),
            row["terms"],
            "yes" if row["folder"] else "download" if row["downloads"] else "by hand",
        )
    console = output_console()
    console.print(table)
    if root is None:
        console.print(f"Give the folder of your corpora with --data DIR or {DATA_VARIABLE}.")
    console.print(
        "`edge-ser corpora download NAME` fetches a corpus or says how to get it by hand. Terms "
        "bind you, and whoever gets a model that was trained on a corpus."
    )


@corpora_app.command("verify")
def verify_corpora(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Which. Default: all that are there."),
    ] = None,
    data: DataOption = None,
    as_json: AsJson = False,
) -> None:
    """Read every recording and compare with what was published.

    Counts files, speakers and labels; names exact duplicates (same samples), misnamed,
    missing and unreadable files, and files that hold another format than their name says.
    Defects that every copy is known to have are told apart from unexpected ones.

    Exit code 0: only known defects. 1: something unexpected. 2: a corpus is not there.

    Examples:

    • edge-ser corpora verify --data ~/corpora

    • edge-ser corpora verify RAVDESS TESS --json
    """
    from edge_ser.corpora import CORPORA, corpora_root, find_corpus
    from edge_ser.corpora.verify import verify

    root = corpora_root(data)
    chosen = [find_corpus(name) for name in dict.fromkeys(names or ())]
    with _bar("recordings", as_bytes=False) as update:
        reports = verify(root, chosen, lambda done, total: update("reading", done, total))
    if not reports:
        raise EdgeSerError(
            f"{root} holds none of {', '.join(CORPORA)}: give the folder that holds the corpora "
            "with --data DIR, one folder each"
        )
    if as_json:
        print(json.dumps([report.to_dict() for report in reports], indent=2))
    else:
        _print_reports(reports)
    if not all(report.ok for report in reports):
        raise typer.Exit(EXIT_UNEXPECTED)


@corpora_app.command("download")
def download(
    name: Annotated[str, typer.Argument(help="RAVDESS, EmoDB, SUBESCO, TESS or BanglaSER.")],
    data: DataOption = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="Another address of the publisher's archive. Default: the publisher's own.",
            show_default=False,
        ),
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Unpack this archive, which you fetched by hand, instead.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Fetch a corpus from its publisher into --data, or say how to get it.

    An interrupted transfer goes on where it stopped when you run the command again. The
    publisher's checksum is checked where one is published; the sha256 is recorded in
    SOURCE.json either way.

    Examples:

    • edge-ser corpora download RAVDESS --data ~/corpora

    • edge-ser corpora download TESS --data ~/corpora --archive ~/Downloads/dataverse_files.zip
    """
    from edge_ser.corpora import corpora_root, find_corpus
    from edge_ser.corpora.download import download_corpus, install_archive

    corpus = find_corpus(name)
    if url and archive:
        raise EdgeSerError("--url and --archive exclude each other: give one of them")
    root = corpora_root(data, create=True)
    if archive or url or corpus.archive:
        typer.echo(f"terms: {corpus.terms}; please cite {corpus.citation}", err=True)
    with _bar("", as_bytes=True) as update:
        if archive:
            source = install_archive(corpus, root, archive, update)
        else:
            source = download_corpus(corpus, root, url, update)
    print(root / corpus.name)
    typer.echo(f"sha256 {source.sha256} (checksum: {source.checksum})", err=True)
    typer.echo(f"next: edge-ser corpora verify {corpus.name} --data {root}", err=True)


@contextmanager
def _bar(unit: str, as_bytes: bool) -> "Iterator[Callable[[str, int, int | None], None]]":
    """A progress bar on standard error; gives the function that moves it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    counts: list[ProgressColumn] = (
        [DownloadColumn(), TransferSpeedColumn()]
        if as_bytes
        else [MofNCompleteColumn(), TextColumn(unit)]
    )
    columns = [TextColumn("{task.description}"), BarColumn(), *counts, TimeRemainingColumn()]
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("", total=None)
        stage = ""

        def update(description: str, done: int, total: int | None) -> None:
            nonlocal stage
            if description != stage:
                stage = description
                progress.reset(task)  # else the speed of the last stage would linger
            progress.update(task, description=description, completed=done, total=total)

        yield update


def _print_reports(reports: "tuple[CorpusReport, ...]") -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for report in reports:
        console.print(f"[bold]{report.corpus}[/bold]  {report.folder}", markup=True)
        found, published = report.files
        if report.originals:
            print(f"  {found} untouched originals")
        else:
            print(f"  {found} of {published} files, {_of(report.speakers)} speakers")
            labels = (f"{name} {_count(pair)}" for name, pair in report.labels.items())
            print("  " + ", ".join(labels))
        for finding in report.findings:
            style = "yellow" if finding.known else "bold red"
            word = "known defect" if finding.known else "unexpected"
            console.print(f"  {word}: {_sentence(finding)}", style=style, markup=False)
        for note in report.notes:
            print(f"  note: {note}")
        known = sum(finding.known for finding in report.findings)
        unexpected = len(report.findings) - known
        print(f"  known defects: {known}, unexpected: {unexpected}")


def _sentence(finding: "Finding") -> str:
    files = ", ".join(finding.files[:FILES_SHOWN])
    if (more := len(finding.files) - FILES_SHOWN) > 0:
        files += f" and {more} more"
    if finding.kind in ("count", "missing", "unknown name"):  # they count, then name
        return f"{finding.kind}: {finding.message}" + (f" ({files})" if files else "")
    return f"{finding.kind}: {files} {finding.message}"


def _of(pair: tuple[int, int]) -> str:
    return f"{pair[0]} of {pair[1]}"


def _count(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else _of(pair)
