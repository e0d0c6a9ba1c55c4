"""The trainer: how fast a network moves from where it starts, and in what arithmetic."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tone_corpus import write_tone_corpus
from torch import nn

from convert.architecture import SIZES
from edge_ser.corpora import load_corpus
from edge_ser.dataset import normalisation_of, read_clips
from edge_ser.evaluation.units import Settings
from edge_ser.heads import Head, Heads, own_heads
from edge_ser.model import EmotionNet
from edge_ser.trainer import (
    DROPOUT,
    FINE_TUNING_SHARE,
    TrainConfig,
    Trainer,
    _has_bfloat16,
    answers,
    batches_of,
)
from firmware_host.cpu import CPU_INFO
from firmware_host.errors import EdgeSerError


@pytest.mark.parametrize("taught", [False, True])
def test_what_was_learned_before_is_left_slowly_where_no_teacher_recalls_it(
    tmp_path: Path, taught: bool
) -> None:
    """After one step from one start, the way gone tells the rate: Adam's step is as long as it."""
    clips = load_corpus(write_tone_corpus(tmp_path), "RAVDESS")
    heads = Heads(own_heads(clips))
    config = TrainConfig(epochs=1, qat_epochs=0, batch_size=len(clips))
    model = replace(config.model, n_labels=len(heads), **SIZES["tiny"])
    config = replace(config, model=model)
    read = read_clips(clips, [heads.row_of(clip) or 0 for clip in clips], config.features)
    torch.manual_seed(config.seed)
    start = {name: value.clone() for name, value in EmotionNet(model).state_dict().items()}
    weights = [name for name, _ in EmotionNet(model).named_parameters()]
    teachers = [EmotionNet(model)] if taught else []

    def way_gone(run: str, began: dict[str, torch.Tensor]) -> float:
        batches = batches_of(read, config, normalisation_of(read, config.features))
        folder = tmp_path / run
        trainer = Trainer(config, heads, batches, None, folder, "cpu", None, teachers, began)
        moved = trainer.run_stages().net.state_dict()
        return sum(float((moved[name] - start[name]).abs().sum()) for name in weights)

    share = 1.0 if taught else FINE_TUNING_SHARE
    ratio = way_gone("learned", start) / way_gone("new", {})
    assert ratio == pytest.approx(share, rel=1e-3)


def test_a_network_has_the_dropout_of_its_size() -> None:
    """A small pupil's large teacher that of a large one."""
    taught = Settings(size="tiny", teachers=1).config(n_labels=2, seed=0)
    assert DROPOUT.keys() == SIZES.keys()
    assert taught.dropout == DROPOUT["tiny"] < taught.of_teacher(1).dropout == DROPOUT["large"]


def test_asking_one_teacher_a_clip_teaches_what_asking_all_would() -> None:
    """A clip that stands in the batch once for each teacher: the gradient of their mean answer."""
    model = TrainConfig().model
    heads = Heads([Head(("RAVDESS",), tuple(map(str, range(model.n_labels))), {})])
    torch.manual_seed(1)
    teachers = [EmotionNet(model).eval() for _ in range(3)]
    for teacher in teachers:
        torch.nn.init.normal_(
            teacher.output.weight, std=10.0
        )  # else all of them answer nearly the same
    clips = torch.randn(2, 64, model.n_features)
    logits = torch.randn(2, model.n_labels)

    def gradient(asked: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        given = logits.repeat_interleave(len(asked) // 2, dim=0).requires_grad_()
        heads.divergence(given, wanted).backward()
        assert given.grad is not None
        return given.grad.view(2, -1, model.n_labels).sum(dim=1)

    with torch.no_grad():
        said = torch.stack([teacher(clips).softmax(dim=1) for teacher in teachers])
    assert float(said.std(dim=0).max()) > 0.1
    thrice = clips.repeat_interleave(3, dim=0)
    one_each = gradient(thrice, answers(teachers, thrice))
    torch.testing.assert_close(one_each, gradient(clips, said.mean(dim=0).log()))


def test_every_teacher_is_asked_about_a_clip_of_each_batch() -> None:
    clips = torch.zeros(3, 4, 2)
    linear = [nn.Linear(8, 5) for _ in range(3)]
    for number, layer in enumerate(linear):
        nn.init.constant_(layer.bias, number)
    teachers = [nn.Sequential(nn.Flatten(), layer) for layer in linear]
    assert answers(teachers, clips)[:, 0].tolist() == [0, 1, 2]
    assert TrainConfig(teachers=3, batch_size=3).teachers == 3
    with pytest.raises(EdgeSerError, match=r"4 teachers .* a batch of 3: take fewer"):
        TrainConfig(teachers=4, batch_size=3)


def test_bfloat16_is_used_where_the_processor_has_units_for_it(need: Callable[[str], None]) -> None:
    """As the kernel says of the processor, in its own words."""
    if not CPU_INFO.is_file():
        need(f"{CPU_INFO} is Linux's")
    words = set(CPU_INFO.read_text().lower().split())
    assert _has_bfloat16("cpu") == bool(words & {"avx512_bf16", "amx_bf16", "bf16", "svebf16"})
