"""Validation: whose voices set how sure a model says it is."""

from pathlib import Path

import torch
from torch import Tensor, nn

from edge_ser.corpora.clip import Clip
from edge_ser.dataset import ClipFeatures
from edge_ser.heads import Head, Heads
from edge_ser.validation import UNJUDGED, Decision, Validation

LABELS = ("angry", "happy", "sad")
WEAK = 0.1  # logit of the class that is heard


class Faint(nn.Module):
    """Its logits are the first frame's features, weakened."""

    def forward(self, windows: Tensor) -> Tensor:
        return WEAK * windows[:, 0]


def decisions(*corpora_of_heads: tuple[str, ...]) -> tuple[Decision, ...]:
    """Of a network that is always right, over the same clips of each corpus."""
    heads = Heads(
        [Head(corpora, LABELS, {label: label for label in LABELS}) for corpora in corpora_of_heads]
    )
    clips, windows = [], []
    for corpus in (corpus for corpora in corpora_of_heads for corpus in corpora):
        for speaker in ("a", "b"):
            for emotion in LABELS:
                clip = Clip(corpus, Path(emotion), speaker, "f", emotion, "words", "1")
                row = heads.row_of(clip)
                assert row is not None
                clips.append(ClipFeatures(clip, row, ()))
                windows.append(torch.eye(len(heads))[row].reshape(1, 1, -1))
    return Validation(heads, clips, windows).decisions([Faint()], "cpu")


def test_a_head_that_no_stranger_judges_is_left_as_it_was_trained() -> None:
    """TESS's validation side is other words of the actress that is heard."""
    judged, unjudged = decisions(("RAVDESS",), ("TESS",))
    assert unjudged == UNJUDGED
    assert judged.temperature < 1  # what is always right may be surer than it was
    assert judged.threshold > 0


def test_strangers_alone_judge_a_head_that_has_some() -> None:
    assert decisions(("RAVDESS", "TESS")) == decisions(("RAVDESS",))
