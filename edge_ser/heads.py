"""Heads: the classes that a network tells apart, for all corpora together or for each its own.

Corpora differ in which emotions they label and in how those are acted. A network trained on
several has one output layer whose rows are the classes of all its heads, one head after the
other; a clip is a matter of its own head alone. What is deployed is one head: those rows, cut
out, with all that was learned below them from every corpus.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edge_ser.corpora.clip import Clip
from edge_ser.emotions import in_corpus_order

OUTSIDE = -1e4
"""Logit of another head's class: its probability is zero, and zero times it is too."""


@dataclass(frozen=True)
class Head:
    """Classes of some corpora.

    Args:
        corpora: whose clips it classifies.
        labels: classes, in the order of the logits.
        label_of: canonical emotion to class; clips whose emotion has none are left out.
    """

    corpora: tuple[str, ...]
    labels: tuple[str, ...]
    label_of: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self) | {"corpora": list(self.corpora), "labels": list(self.labels)}


def own_heads(clips: Iterable[Clip]) -> tuple[Head, ...]:
    """A head for each corpus, with the classes that it labels; in the order of the clips."""
    emotions: dict[str, set[str]] = {}
    for clip in clips:
        emotions.setdefault(clip.corpus, set()).add(clip.emotion)
    return tuple(
        Head((corpus,), labels, {label: label for label in labels})
        for corpus, names in emotions.items()
        for labels in (in_corpus_order(names),)
    )


class Heads:
    """The heads of one network, as rows of its output layer."""

    def __init__(self, heads: Sequence[Head]) -> None:
        self.heads = tuple(heads)
        sizes = [len(head.labels) for head in self.heads]
        ends = torch.tensor(sizes).cumsum(0).tolist()
        self.rows = tuple(slice(end - size, end) for size, end in zip(sizes, ends, strict=True))
        self._number_of = {
            corpus: number for number, head in enumerate(self.heads) for corpus in head.corpora
        }
        self._head_of_row = torch.repeat_interleave(torch.tensor(sizes))

    def __len__(self) -> int:
        """Rows of all heads together."""
        return len(self._head_of_row)

    def row_of(self, clip: Clip) -> int | None:
        """The row of a clip's class; None where its head has no class for its emotion."""
        number = self._number_of[clip.corpus]
        head = self.heads[number]
        label = head.label_of.get(clip.emotion)
        if label not in head.labels:
            return None
        before = sum(len(other.labels) for other in self.heads[:number])
        return before + head.labels.index(label)

    def rows_of(self, row: int) -> slice:
        """All rows of the head that this one is of."""
        return self.rows[int(self._head_of_row[row])]

    def own(self, rows: Tensor) -> Tensor:
        """Which rows are of the same head as each of these. Shape: (batch,) to (batch, rows)."""
        head_of_row = self._head_of_row.to(rows.device)
        return head_of_row == head_of_row[rows][:, None]

    def probabilities(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Softmax within the head of each clip's row; log probabilities: see `log_softmax`.

        Shape:
            - logits, and what is returned: (batch, rows); rows: (batch,)
        """
        return self.log_softmax(logits, rows).exp()

    def log_softmax(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Log probabilities within the head of each clip's row; other heads' are about `OUTSIDE`.

        Shape:
            - logits, and what is returned: (batch, rows); rows: (batch,)
        """
        if len(self.heads) > 1:
            logits = logits.masked_fill(~self.own(rows), OUTSIDE)
        return functional.log_softmax(logits, dim=1)

    def cross_entropy(self, logits: Tensor, rows: Tensor, label_smoothing: float) -> Tensor:
        """Mean cross entropy of each clip within its head, the smoothing too.

        Shape:
            - logits: (batch, rows); rows: (batch,), of the right classes
            - returns: ()
        """
        log_probabilities = self.log_softmax(logits, rows)
        right = log_probabilities.gather(1, rows[:, None])[:, 0]
        own = self.own(rows).float()
        mean = (log_probabilities * own).sum(dim=1) / own.sum(dim=1)
        return -((1.0 - label_smoothing) * right + label_smoothing * mean).mean()

    def divergence(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """How far a network is from answering as another does, over all heads.

        The Kullback-Leibler divergence of each head, their sum, the mean over the batch.

        Shape:
            - logits, wanted: (batch, rows)
            - returns: ()
        """
        parts = [
            functional.kl_div(
                functional.log_softmax(logits[:, rows], dim=1),
                functional.log_softmax(wanted[:, rows], dim=1),
                reduction="batchmean",
                log_target=True,
            )
            for rows in self.rows
        ]
        return torch.stack(parts).sum()
