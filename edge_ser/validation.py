"""Validation: what clips that nothing is trained on say of a network, and how it should decide."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_ser.dataset import ClipFeatures
from edge_ser.folds import VALIDATION_TEXT_SHARE
from edge_ser.heads import Heads
from edge_ser.metrics import fit_temperature, score
from edge_ser.outcomes import clip_probabilities, make_outcomes
from edge_ser.rejection import choose_threshold
from firmware_host.probabilities import label_of

Float32 = NDArray[np.float32]
WINDOWS_AT_ONCE = 256
REJECTED_SHARE = 0.1  # of the validation clips: the least certain are "uncertain"


@dataclass(frozen=True)
class Decision:
    """How a head's logits become a decision.

    Args:
        temperature: that they are divided by.
        threshold: of the highest probability; below it the answer is "uncertain".
    """

    temperature: float
    threshold: float


UNJUDGED = Decision(temperature=1.0, threshold=0.0)  # as trained, and never "uncertain"


class Validation:
    """Clips of speakers, or texts, that a network was not trained on.

    Args:
        windows: of each clip, normalised. Shape of each: (windows, frames, n_features)
    """

    def __init__(
        self, heads: Heads, clips: Sequence[ClipFeatures], windows: Sequence[Tensor]
    ) -> None:
        self.heads, self.clips = heads, clips
        self._windows = torch.cat(list(windows))
        self._counts = [len(of_clip) for of_clip in windows]

    def logits(self, net: nn.Module, device: str) -> list[Float32]:
        """Of each clip's windows. Shape of each: (windows, rows), float32."""
        # Eager: compiled code is for the batches of training, which are all of one size.
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            parts = [
                net(some.to(device)).float().cpu() for some in self._windows.split(WINDOWS_AT_ONCE)
            ]
        return [part.numpy() for part in torch.cat(parts).split(self._counts)]

    def uar(self, net: nn.Module, device: str) -> float:
        """The mean of the corpora's UAR, so that a large one does not drown the others.

        A clip is recognised by the mean probability of its windows, among the classes of its head.
        """
        recognised = []
        for clip, logits in zip(self.clips, self.logits(net, device), strict=True):
            rows = self.heads.rows_of(clip.label)
            recognised.append(rows.start + label_of(logits[:, rows]))
        uars = []
        for corpus in sorted({clip.clip.corpus for clip in self.clips}):
            chosen = [i for i, clip in enumerate(self.clips) if clip.clip.corpus == corpus]
            truth = [self.clips[i].label for i in chosen]
            uars.append(score(truth, [recognised[i] for i in chosen], len(self.heads)).uar)
        return float(np.mean(uars))

    def decisions(self, nets: Iterable[nn.Module], device: str) -> tuple[Decision, ...]:
        """For each head, what suits what these networks said of its clips.

        Of speakers that were never heard, as those of a device are. Other texts of training
        speakers say nothing of those: a head with nothing else is left `UNJUDGED`.
        """
        said = [self.logits(net, device) for net in nets]
        out = []
        for head, rows in zip(self.heads.heads, self.heads.rows, strict=True):
            unheard = [
                i
                for i, clip in enumerate(self.clips)
                if clip.clip.corpus in head.corpora
                and clip.clip.corpus not in VALIDATION_TEXT_SHARE
            ]
            if not unheard:
                out.append(UNJUDGED)
                continue
            windows = [np.asarray(of[i][:, rows], np.float64) for of in said for i in unheard]
            truth = [self.clips[i].label - rows.start for _ in said for i in unheard]
            speakers = [self.clips[i].clip.speaker for _ in said for i in unheard]
            temperature = fit_temperature(windows, truth)
            probabilities = [clip_probabilities(of_clip, temperature) for of_clip in windows]
            heard = make_outcomes(truth, probabilities, speakers)
            out.append(Decision(temperature, choose_threshold(heard, REJECTED_SHARE)))
        return tuple(out)
