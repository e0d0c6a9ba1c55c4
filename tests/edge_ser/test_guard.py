"""The guard fires on every kind of leak, wherever it is, unless the protocol declares it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ser.corpora import CORPORA, Clip
from edge_ser.folds import get_fold, split
from edge_ser.guard import (
    IN_WORDS,
    Breach,
    Split,
    check_disjoint,
    copy_number,
    recording_name,
)
from firmware_host.errors import EdgeSerError

CLIPS = [
    Clip("RAVDESS", Path(f"/RAVDESS/{name}-{text}.wav"), name, who.gender, "sad", text, "1")
    for name, who in CORPORA["RAVDESS"].speakers.items()
    for text in "abc"
]
SIDES = split(CLIPS, get_fold("RAVDESS", 1))
DIGESTS = {clip.path: f"samples of {clip.path}" for clip in CLIPS}
SIDE_NAMES = ("train", "validation", "test")


def moved(number: int, source: str, target: str, **changes: Any) -> tuple[Split, Clip, Clip]:
    """The division with a clip of one side added to another, changed; that clip, and its twin."""
    there = getattr(SIDES, source)
    clip = there[number % len(there)]
    twin = replace(clip, **changes)
    return replace(SIDES, **{target: (*getattr(SIDES, target), twin)}), clip, twin


def test_a_clean_division_passes_and_has_no_breach() -> None:
    assert check_disjoint(SIDES, (), DIGESTS) == frozenset()
    assert set(IN_WORDS) == set(Breach)


@given(
    st.integers(0, 10_000),
    st.permutations(SIDE_NAMES).map(lambda names: (names[0], names[1])),
    st.sampled_from([Breach.DUPLICATES, Breach.COPIES, Breach.FILES]),
)
def test_a_recording_on_two_sides_is_found_in_whatever_form(
    number: int, sides: tuple[str, str], kind: Breach
) -> None:
    """Protects the figures from one recording counting on both sides, under any name.

    The twin bears the name of a speaker of the side that it is put on, so that only what it
    is betrays it.
    """
    source, target = sides
    host = getattr(SIDES, target)[0]
    name = "another name.wav" if kind is Breach.DUPLICATES else None
    clip = getattr(SIDES, source)[number % len(getattr(SIDES, source))]
    path = {
        Breach.DUPLICATES: Path(f"/RAVDESS/{name}"),
        Breach.COPIES: Path(f"/copies/{clip.path.stem}~3.flac"),
        Breach.FILES: clip.path,
    }[kind]
    leaking, _, twin = moved(
        number, source, target, path=path, speaker=host.speaker, text=host.text
    )
    digests = dict(DIGESTS)
    if kind is Breach.DUPLICATES:
        digests[twin.path] = digests[clip.path]
    if kind is Breach.FILES and set(sides) == {"validation", "test"}:
        kind = Breach.SELECTION
    with pytest.raises(EdgeSerError, match=r"two sides|same samples|one recording, augmented"):
        check_disjoint(leaking, (), digests)
    with pytest.raises(EdgeSerError):
        check_disjoint(leaking, set(Breach) - {kind}, digests)
    assert check_disjoint(leaking, {kind}, digests) == {kind}


@given(st.integers(0, 10_000), st.sampled_from(["train", "validation"]))
def test_a_test_speaker_on_another_side_is_found(number: int, target: str) -> None:
    """Protects "never heard before": one recording of the speaker is enough."""
    leaking, clip, _ = moved(number, "test", target, path=Path("/new.wav"), text="another")
    with pytest.raises(EdgeSerError, match=f"speaker {clip.speaker} of RAVDESS is tested on"):
        check_disjoint(leaking)
    with pytest.raises(EdgeSerError, match="is tested on"):
        check_disjoint(leaking, set(Breach) - {Breach.SPEAKERS})
    assert check_disjoint(leaking, {Breach.SPEAKERS}) == {Breach.SPEAKERS}


@given(st.integers(0, 10_000))
def test_a_validation_speakers_text_in_training_is_found(number: int) -> None:
    """Protects the choice of the epoch from takes that were trained on."""
    leaking, _, _ = moved(number, "validation", "train", path=Path("/new.wav"), take="2")
    with pytest.raises(EdgeSerError, match="is trained on and validated on"):
        check_disjoint(leaking, set(Breach) - {Breach.TAKES})
    assert check_disjoint(leaking, {Breach.TAKES}) == {Breach.TAKES}


@given(st.text("ab-_01", min_size=1, max_size=8), st.integers(0, 12))
def test_a_copys_name_tells_its_recording(name: str, number: int) -> None:
    path = Path(f"{name}~{number}.flac" if number else f"{name}.wav")
    assert (recording_name(path), copy_number(path)) == (name, number)
