"""Heads: a clip is a matter of its own head alone, and a head is rows of one layer."""

from pathlib import Path

import torch
from torch.nn import functional

from edge_ser.corpora.clip import Clip
from edge_ser.heads import Head, Heads, own_heads


def clip(corpus: str, emotion: str) -> Clip:
    return Clip(corpus, Path(f"{emotion}.wav"), "01", "f", emotion, "01", "01")


CLIPS = [clip("TESS", "sad"), clip("EmoDB", "bored"), clip("TESS", "happy"), clip("EmoDB", "sad")]


def test_each_corpus_has_the_emotions_that_it_labels() -> None:
    heads = Heads(own_heads(CLIPS))
    assert [(head.corpora, head.labels) for head in heads.heads] == [
        (("TESS",), ("happy", "sad")),
        (("EmoDB",), ("sad", "bored")),
    ]
    assert [heads.row_of(one) for one in CLIPS] == [1, 3, 0, 2]
    assert len(heads) == 4 and [heads.rows_of(row) for row in (1, 2)] == [slice(0, 2), slice(2, 4)]
    shared = Heads([Head(("TESS", "EmoDB"), ("sad",), {"sad": "sad"})])
    assert [shared.row_of(one) for one in CLIPS] == [0, None, None, 0]


def test_one_head_is_ordinary_training() -> None:
    heads = Heads([Head(("TESS",), ("sad", "happy", "angry"), {})])
    logits, rows = torch.randn(16, 3), torch.randint(3, (16,))
    torch.testing.assert_close(
        heads.cross_entropy(logits, rows, 0.1),
        functional.cross_entropy(logits, rows, label_smoothing=0.1),
    )
    torch.testing.assert_close(heads.probabilities(logits, rows), logits.softmax(dim=1))


def test_no_other_head_moves_a_clip_and_a_clip_moves_no_other_head() -> None:
    """The loss is that of the head alone, and so is its gradient."""
    heads = Heads(own_heads(CLIPS))
    rows = torch.tensor([0, 1, 1, 0])
    logits = torch.randn(4, 4, requires_grad=True)
    loss = heads.cross_entropy(logits, rows, 0.1)
    loss.backward()
    assert logits.grad is not None and not logits.grad[:, 2:].any()
    alone = logits.detach()[:, :2].clone().requires_grad_()
    expected = functional.cross_entropy(alone, rows, label_smoothing=0.1)
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logits.grad[:, :2], alone.grad)
    assert not heads.probabilities(logits, rows)[:, 2:].any()


def test_whoever_answers_alike_does_not_diverge() -> None:
    """A shift of all of a head's logits is no other answer; of another head's it is not asked."""
    heads = Heads(own_heads(CLIPS))
    wanted = torch.randn(8, 4)
    shifted = wanted + torch.tensor([3.0, 3.0, -1.0, -1.0])
    torch.testing.assert_close(heads.divergence(shifted, wanted), torch.tensor(0.0))
    assert heads.divergence(wanted + torch.tensor([3.0, 0.0, 0.0, 0.0]), wanted) > 0.01
