"""`edge-ser evaluate`: what a training is worth, under a protocol that says what it leaks."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convert.architecture import ModelConfig
from edge_ser.cli.app import app
from edge_ser.cli.options import DataOption, RefitEpochsOption, WeightDecayOption
from firmware_host.errors import EdgeSerError

if TYPE_CHECKING:
    from rich.console import Console

    from edge_ser.evaluation.outcome import Outcome
    from edge_ser.trainer import EpochReport


@app.command()
def evaluate(
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            "-p",
            help="speaker: people never heard before. random: folds that share speakers. paper: "
            "augmented copies before the division; leaks. cross: onto another corpus. loco: "
            "leave one corpus out.",
        ),
    ] = "speaker",
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            "--corpus",
            "-c",
            metavar="NAME",
            help="RAVDESS, TESS, EmoDB, BanglaSER or SUBESCO; repeat it for several. cross: the "
            "one to train on, or, without --test-corpus, all pairs. loco: those to leave out in "
            "turn; default: all but SUBESCO.",
            show_default=False,
        ),
    ] = None,
    test_corpus: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="To test on (cross, loco).", show_default=False),
    ] = None,
    data: DataOption = None,
    fold: Annotated[
        list[int] | None,
        typer.Option(
            "--fold",
            metavar="N",
            min=1,
            help="Only this fold; repeat it for several. Default: all.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            "--seed",
            metavar="N",
            help="Of everything random in a training; repeat it for several. Default: 0.",
            show_default=False,
        ),
    ] = None,
    pretrain: Annotated[
        list[str] | None,
        typer.Option(
            "--pretrain",
            metavar="NAME",
            help="speaker: a corpus to train on first, as in train, but for a test on itself; "
            "repeat it for several.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder of this evaluation. What is there already is not computed again.",
        ),
    ] = Path("runs/evaluation"),
    size: Annotated[str, typer.Option(help="tiny, small, base or large.")] = "small",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of float training.")] = 120,
    qat_epochs: Annotated[
        int,
        typer.Option(
            min=0,
            help="Epochs of quantization-aware fine-tuning; 0 leaves it out and needs "
            "--post-training.",
        ),
    ] = 8,
    batch_size: Annotated[int, typer.Option(min=2, help="Clips a step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak of float training.")] = 2e-3,
    qat_learning_rate: Annotated[float, typer.Option(help="Peak of fine-tuning.")] = 2e-4,
    weight_decay: WeightDecayOption = 0.02,
    teachers: Annotated[
        int, typer.Option(min=0, help="Networks that the model learns from, as in train.")
    ] = 0,
    teacher_size: Annotated[str, typer.Option(help="Of these networks.")] = "large",
    refit_epochs: RefitEpochsOption = 0,
    pupil_epochs: Annotated[
        int, typer.Option(min=0, help="Of the model where it has teachers; 0: as many as theirs.")
    ] = 0,
    pretraining_epochs: Annotated[
        int, typer.Option(min=1, help="On what is trained on first.")
    ] = 50,
    fast: Annotated[
        bool, typer.Option("--fast", help="Compiled, and in bfloat16 where it can be, as in train.")
    ] = False,
    eca: Annotated[bool, typer.Option("--eca/--no-eca", help="Channel attention.")] = True,
    gfb: Annotated[bool, typer.Option("--gfb/--no-gfb", help="The BiLSTM.")] = True,
    alfb: Annotated[bool, typer.Option("--alfb/--no-alfb", help="The convolutions.")] = True,
    lstm_scales: Annotated[
        str, typer.Option(help="Of the LSTM's int8 weights: row or gate, as in train.")
    ] = ModelConfig.lstm_scales,
    features: Annotated[
        str,
        typer.Option(help="Which the model hears, of log_mel,mfcc,rms,zcr, in that order."),
    ] = "log_mel,mfcc,rms,zcr",
    post_training: Annotated[
        bool,
        typer.Option(
            "--post-training",
            help="Quantise the float network after training too, calibrated on training clips, "
            "and hear with that file as well.",
        ),
    ] = False,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, or auto: a GPU when there is one.")
    ] = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Trainings at a time, a core each. Default: all cores.",
            show_default=False,
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Of a Dask scheduler, as tcp://host:8786, whose workers train instead.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON instead of tables.")
    ] = False,
) -> None:
    """Train, convert and hear every division of a protocol; sum it up with intervals.

    Each division and seed leaves a file with every test recording's probabilities. Stop it at
    any moment and start it again: it goes on where it was. Figures are of the INT8 TFLite
    file, with the float32 one beside it.

    Examples:

    • edge-ser evaluate --data corpora --corpus EmoDB -o emodb

    • edge-ser evaluate --protocol cross --corpus RAVDESS --test-corpus EmoDB

    • edge-ser evaluate --corpus SUBESCO --seed 0 --seed 1 --seed 2 -o subesco
    """
    from rich.console import Console

    from edge_ser.corpora import corpora_root
    from edge_ser.evaluation.protocols import keys_of
    from edge_ser.evaluation.report import to_markdown
    from edge_ser.evaluation.run import Place
    from edge_ser.evaluation.spread import run_all
    from edge_ser.evaluation.summary import group, summarise
    from edge_ser.evaluation.units import Settings, units_of
    from firmware_host.files import write_whole

    if device not in ("auto", "cpu", "cuda"):
        raise EdgeSerError(f"there is no device {device!r}: choose auto, cpu or cuda")
    settings = Settings(
        size=size,
        eca=eca,
        gfb=gfb,
        alfb=alfb,
        lstm_scales=lstm_scales,
        kinds=tuple(kind.strip() for kind in features.split(",")),
        epochs=epochs,
        qat_epochs=qat_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        qat_learning_rate=qat_learning_rate,
        weight_decay=weight_decay,
        teachers=teachers,
        teacher_size=teacher_size,
        refit_epochs=refit_epochs,
        pupil_epochs=pupil_epochs,
        pretraining_epochs=pretraining_epochs,
        fast=fast,
        post_training=post_training,
    )
    keys = keys_of(protocol, corpus or (), test_corpus, fold or (), pretrain or ())
    units = units_of(keys, seed or [0], settings)
    if scheduler is None:
        corpora_root(data)  # now, not after the first process has started
    cores = jobs or os.cpu_count() or 1
    place = Place(out / "outcomes", out / "work", data, device, cores)
    errors = Console(stderr=True)
    with _progress(errors) as (tell, on_epoch):
        outcomes = run_all(
            units,
            place,
            cores,
            scheduler,
            lambda outcome, done, total: _say(errors, outcome, done, total),
            tell,
            on_epoch,
            lambda unit, sentence: errors.print(
                f"failed, the others go on: {unit.slug}: {sentence}", highlight=False, markup=False
            ),
        )
    summaries = [summarise(some) for some in group(outcomes)]
    as_text = json.dumps([summary.to_dict() for summary in summaries], indent=2) + "\n"
    write_whole(out / "summary.json", as_text)
    write_whole(out / "summary.md", to_markdown(summaries))
    sys.stdout.write(as_text if as_json else to_markdown(summaries))
    errors.print(f"written: {out / 'summary.md'}, {out / 'summary.json'}", highlight=False)


def _say(console: "Console", outcome: "Outcome", done: int, total: int) -> None:
    from edge_ser.evaluation.report import LEAKS
    from edge_ser.metrics import percent

    heard = ", ".join(f"{name} {percent(outcome.score(name).uar)}" for name in outcome.heard)
    minutes = outcome.seconds["all"] / 60
    leaks = f" ({LEAKS.strip('*')})" if outcome.leaks else ""
    console.print(
        f"{done} of {total}: {outcome.unit.slug}{leaks}: UAR % {heard}; {minutes:.1f} min",
        highlight=False,
        markup=False,
    )


@contextmanager
def _progress(
    console: "Console",
) -> Iterator[tuple[Callable[[str, int, int], None], Callable[["EpochReport"], None]]]:
    """One line that says what is being done; only on a terminal, as logs want no bars."""
    with console.status("starting") as status:

        def tell(what: str, done: int, total: int) -> None:
            status.update(f"{what} {done:,} of {total:,}" if total > 1 else what)

        def on_epoch(report: "EpochReport") -> None:
            best = "" if report.best_uar is None else f", UAR {100 * report.best_uar:.1f}"
            status.update(f"{report.stage} epoch {report.epoch} of {report.epochs}{best}")

        yield tell, on_epoch
