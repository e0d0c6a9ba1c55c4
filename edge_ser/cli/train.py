"""`edge-ser train`: from recordings to a checkpoint with every scale that INT8 needs."""

import os
from pathlib import Path
from typing import Annotated

import typer

from edge_ser.cli.app import app
from edge_ser.cli.options import DataOption, RefitEpochsOption, WeightDecayOption
from firmware_host.errors import EdgeSerError


@app.command()
def train(
    corpus: Annotated[
        list[str],
        typer.Option(
            "--corpus",
            "-c",
            metavar="NAME",
            help="RAVDESS, TESS, EmoDB, BanglaSER or SUBESCO; give it several times to train "
            "one model on several.",
        ),
    ],
    data: DataOption = None,
    fold: Annotated[
        int,
        typer.Option(
            min=1,
            help="Which speakers are held out for the test (one corpus only; several have a "
            "fixed set).",
        ),
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of this training. One that was interrupted there goes on. "
            "Default: runs/NAME.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the model. Default: corpus, fold and size.", show_default=False),
    ] = None,
    size: Annotated[str, typer.Option(help="tiny, small, base or large.")] = "small",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of float training.")] = 120,
    qat_epochs: Annotated[
        int,
        typer.Option(
            min=0,
            help="Epochs of quantization-aware fine-tuning; 0 leaves it out, and INT8 files then "
            "need `edge-ser convert --calibrate`.",
        ),
    ] = 8,
    batch_size: Annotated[int, typer.Option(min=2, help="Clips a step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak of float training.")] = 2e-3,
    qat_learning_rate: Annotated[float, typer.Option(help="Peak of fine-tuning.")] = 2e-4,
    weight_decay: WeightDecayOption = 0.02,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    teachers: Annotated[
        int,
        typer.Option(
            min=0,
            help="Larger networks that are trained first, and that the model learns from beside "
            "the labels: what they know together in one small one, for several times the work.",
        ),
    ] = 0,
    teacher_size: Annotated[str, typer.Option(help="Of these networks.")] = "large",
    refit_epochs: RefitEpochsOption = 0,
    pupil_epochs: Annotated[
        int,
        typer.Option(
            min=0,
            help="Of the model's float training where there are teachers, of whom it learns long "
            "after they learned all they can. 0: as many as theirs.",
        ),
    ] = 0,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse",
            help="Train the model once more before, without the speakers who judge its teachers, "
            "to see how sure it may be of people whom it never heard, also among other sounds: "
            "about half as much work again, for probabilities that say how often it is right.",
        ),
    ] = False,
    pretrain: Annotated[
        list[str] | None,
        typer.Option(
            "--pretrain",
            metavar="NAME",
            help="A corpus whose recordings are all trained on first, with classes of its own; "
            "repeat it for several. Helps most where --corpus has few people.",
            show_default=False,
        ),
    ] = None,
    pretraining_epochs: Annotated[int, typer.Option(min=1, help="On these corpora.")] = 50,
    noise: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of what is trained on in which something else is heard too: more makes a "
            "model robuster, and worse where it is quiet.",
        ),
    ] = 0.15,
    min_snr: Annotated[
        float, typer.Option(metavar="DB", help="Of speech over that, at the loudest.")
    ] = 5.0,
    clatter: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Of these noises, the share that clatters."),
    ] = 0.0,
    ending: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Of what else is heard, the share that ends where a short recording does, as in "
            "a file; the rest goes on, as in a room.",
        ),
    ] = 0.0,
    narrow: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Share of what is trained on with the band of a telephone."
        ),
    ] = 0.05,
    gain: Annotated[
        float,
        typer.Option(
            min=0.0, metavar="DB", help="How far levels differ, louder or softer than recorded."
        ),
    ] = 6.0,
    heads: Annotated[
        str,
        typer.Option(
            help="With several corpora: shared, one model of seven emotions, or own, a model for "
            "each corpus with its own emotions, which have all but their last layer in common."
        ),
    ] = "shared",
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help="Compiled, and in bfloat16 where that is exact enough and the processor has units "
            "for it: twice as fast with these. Needs a C++ compiler; gives other last bits.",
        ),
    ] = False,
    eca: Annotated[bool, typer.Option("--eca/--no-eca", help="Channel attention.")] = True,
    gfb: Annotated[bool, typer.Option("--gfb/--no-gfb", help="The BiLSTM.")] = True,
    alfb: Annotated[bool, typer.Option("--alfb/--no-alfb", help="The convolutions.")] = True,
    lstm_scales: Annotated[
        str,
        typer.Option(
            help="Of the LSTM's int8 weights: gate, one scale for each gate's rows, or row, one "
            "for each. Kernels of microcontrollers have one for each gate's: of a model trained "
            "otherwise, `convert --target micro` rounds them once more."
        ),
    ] = "gate",
    device: Annotated[
        str, typer.Option(help="cpu, cuda, or auto: a GPU when there is one.")
    ] = "auto",
    threads: Annotated[
        int, typer.Option(min=1, help="Of torch; other numbers give other last bits.")
    ] = 1,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes that read recordings. Default: all cores.", show_default=False
        ),
    ] = None,
) -> None:
    """Train the float network, fine-tune it with quantization, and write a checkpoint.

    Speakers held out for the test are never read here; others are held out to choose the
    epoch. Stop it at any moment and start it again with the same options: it goes on where
    it was, and ends with the same bits.

    Example: edge-ser train --data corpora --corpus RAVDESS --fold 1 -o runs/ravdess-1
    """
    import torch

    from edge_ser.progress import TrainingProgress
    from edge_ser.recipe import make_recipe
    from edge_ser.train import train as run_training

    if device not in ("auto", "cpu", "cuda"):
        raise EdgeSerError(f"there is no device {device!r}: choose auto, cpu or cuda")
    gpu = torch.cuda.is_available()
    if device == "cuda" and not gpu:
        raise EdgeSerError("no CUDA device was found: use --device cpu, or auto")
    if heads not in ("shared", "own"):
        raise EdgeSerError(f"there are no heads {heads!r}: choose shared or own")
    recipe = make_recipe(
        tuple(corpus), data, fold, size, name, heads == "own", tuple(pretrain or ())
    )
    recipe = (
        recipe.with_surroundings(
            gain,
            noise_share=noise,
            min_snr_db=min_snr,
            band_share=narrow,
            clatter_share=clatter,
            ending_share=ending,
        )
        .with_switches(use_eca=eca, use_gfb=gfb, use_alfb=alfb, lstm_scales=lstm_scales)
        .with_settings(
            epochs=epochs,
            qat_epochs=qat_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            qat_learning_rate=qat_learning_rate,
            weight_decay=weight_decay,
            seed=seed,
            threads=threads,
            teachers=teachers,
            teacher_size=teacher_size,
            refit_epochs=refit_epochs,
            pupil_epochs=pupil_epochs,
            pretraining_epochs=pretraining_epochs,
            fast=fast,
        )
    )
    run = out or Path("runs") / recipe.name
    with TrainingProgress() as progress:
        checkpoints = run_training(
            recipe.split,
            recipe.heads,
            recipe.config,
            run,
            recipe.name,
            recipe.facts,
            device="cuda" if gpu and device != "cpu" else "cpu",
            jobs=jobs or os.cpu_count() or 1,
            on_read=progress.reading,
            on_epoch=progress.epoch,
            rehearse=rehearse,
        )
    calibrate = "" if qat_epochs else " --calibrate RECORDINGS"
    for checkpoint in checkpoints:
        print(checkpoint)
        typer.echo(
            f"next: edge-ser convert --int8{calibrate} {checkpoint} -o {run / 'models'}", err=True
        )
