"""Folds: nobody who is tested on is trained on, everybody is tested on once, and it is fixed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ser.corpora import CORPORA, Clip, load_corpus
from edge_ser.folds import (
    JOINT_HOLDOUT,
    TEST_SPEAKERS,
    Fold,
    Split,
    check_disjoint,
    deal_banglaser,
    get_fold,
    joint_split,
    speaker_folds,
    split,
    validation_texts,
)
from firmware_host.errors import EdgeSerError

FOLDS = [fold for name in CORPORA for fold in speaker_folds(name)]
ALL_FOLDS = [*FOLDS, *JOINT_HOLDOUT.values()]


def clips_of(corpus: str, texts: Sequence[str] = ("a", "b", "c", "d", "e", "f", "g")) -> list[Clip]:
    """One clip of each speaker and text, without files."""
    return [
        Clip(corpus, Path(f"/{corpus}/{name}/{text}.wav"), name, who.gender, "sad", text, "1")
        for name, who in CORPORA[corpus].speakers.items()
        for text in texts
    ]


def speakers(side: Sequence[Clip]) -> set[tuple[str, str]]:
    return {(clip.corpus, clip.speaker) for clip in side}


def genders(corpus: str, names: Sequence[str]) -> Counter[str]:
    return Counter(CORPORA[corpus].speakers[name].gender for name in names)


@pytest.mark.parametrize("corpus", CORPORA)
def test_every_speaker_is_tested_on_exactly_once(corpus: str) -> None:
    """Protects the mean over folds: it is a mean over all speakers of the corpus."""
    tested = [name for fold in speaker_folds(corpus) for name in fold.test_speakers]
    assert sorted(tested) == sorted(CORPORA[corpus].speakers)
    assert [fold.index for fold in speaker_folds(corpus)] == list(
        range(1, len(TEST_SPEAKERS[corpus]) + 1)
    )


@pytest.mark.parametrize("fold", ALL_FOLDS, ids=lambda fold: f"{fold.corpus}-{fold.index}")
def test_sides_are_disjoint_and_complete(fold: Fold) -> None:
    """Protects the claim "speaker-independent", fold by fold, validation included."""
    clips = clips_of(fold.corpus)
    sides = split(clips, fold)
    assert sorted([*sides.train, *sides.validation, *sides.test], key=str) == sorted(clips, key=str)
    assert speakers(sides.test).isdisjoint(speakers(sides.train) | speakers(sides.validation))
    assert {name for _, name in speakers(sides.test)} == set(fold.test_speakers)
    if fold.validation_speakers:
        assert speakers(sides.validation).isdisjoint(speakers(sides.train))
    else:
        trained, validated = (
            {clip.text for clip in side} for side in (sides.train, sides.validation)
        )
        assert trained.isdisjoint(validated)


def test_number_of_folds_and_genders() -> None:
    """Protects the protocol: the published numbers of folds, and balance where it can be had."""
    assert {name: len(groups) for name, groups in TEST_SPEAKERS.items()} == {
        "RAVDESS": 5,
        "SUBESCO": 5,
        "EmoDB": 10,
        "TESS": 2,
        "BanglaSER": 5,
    }
    for fold in FOLDS:
        validation = genders(fold.corpus, fold.validation_speakers)
        if fold.corpus != "TESS":
            assert validation["f"] == validation["m"] > 0
        test = genders(fold.corpus, fold.test_speakers)
        if fold.corpus in ("RAVDESS", "BanglaSER"):
            assert abs(test["f"] - test["m"]) <= 1


def test_banglaser_follows_its_rule_and_is_balanced() -> None:
    """Protects our own partition: it is what its rule says, and its folds are of like size."""
    assert deal_banglaser() == TEST_SPEAKERS["BanglaSER"]
    known = CORPORA["BanglaSER"].speakers
    sizes = [sum(known[name].n_files for name in hand) for hand in deal_banglaser()]
    assert sum(sizes) == 1467
    assert max(sizes) - min(sizes) <= 54  # a sixth speaker less, and little more
    for hand in deal_banglaser():
        without_neutral = sum(known[name].n_files == 36 for name in hand)
        assert 1 <= without_neutral <= 2


def test_folds_are_numbered_from_one() -> None:
    """Protects --fold: 1 is the first published one, and others are refused by name."""
    assert get_fold("ravdess", 1).test_speakers == ("02", "05", "14", "15", "16")
    assert get_fold("SUBESCO", 5).test_speakers == ("F02", "M01", "M02", "M10")
    assert get_fold("TESS", 1).test_speakers == ("YAF",)
    for index in (0, 6, -1):
        with pytest.raises(EdgeSerError, match="from 1 to 5"):
            get_fold("RAVDESS", index)


def test_tess_validates_on_words_that_it_does_not_train_on(corpora_dir: Path) -> None:
    """Protects TESS's validation: 15 % of the words, the same for both actresses."""
    clips = load_corpus(corpora_dir, "TESS")
    held = []
    for index, trained in ((1, "OAF"), (2, "YAF")):
        sides = split(clips, get_fold("TESS", index))
        assert {clip.speaker for clip in (*sides.train, *sides.validation)} == {trained}
        held.append({clip.text for clip in sides.validation})
        assert held[-1].isdisjoint(clip.text for clip in sides.train)
        assert len({clip.emotion for clip in sides.validation}) == 7
    assert held[0] == held[1]
    assert len(held[0]) == 30


@given(st.sets(st.text(min_size=1), min_size=1, max_size=60), st.floats(0, 1))
def test_validation_texts_are_a_share_whatever_the_order(texts: set[str], share: float) -> None:
    """Protects the rule: it depends on the words alone."""
    chosen = validation_texts(sorted(texts), share)
    assert chosen == validation_texts(sorted(texts, reverse=True), share)
    assert chosen <= texts
    assert len(chosen) == round(share * len(texts))


def test_every_class_is_on_every_side(corpora_dir: Path) -> None:
    """Protects the scores: no fold lacks a class where it is trained, chosen or tested."""
    for name in ("RAVDESS", "BanglaSER", "TESS"):
        clips = load_corpus(corpora_dir, name)
        for fold in speaker_folds(name):
            sides = split(clips, fold)
            for side in (sides.train, sides.validation, sides.test):
                assert {clip.emotion for clip in side} == set(CORPORA[name].emotions)


def test_guard_fires_for_a_test_speaker_in_training() -> None:
    """Protects against a leak, wherever it comes from."""
    sides = split(clips_of("RAVDESS"), get_fold("RAVDESS", 1))
    for leaky in (
        replace(sides, train=(*sides.train, replace(sides.test[0], path=Path("/elsewhere.wav")))),
        replace(sides, validation=(*sides.validation, sides.test[0])),
    ):
        with pytest.raises(EdgeSerError, match="speaker 02 of RAVDESS is tested on and also"):
            check_disjoint(leaky)
    check_disjoint(sides)


def test_guard_fires_for_one_file_on_two_sides(tmp_path: Path) -> None:
    """Protects against one file under two speakers' names, also through a link."""
    file, link = tmp_path / "a.wav", tmp_path / "b.wav"
    file.touch()
    link.symlink_to(file)
    clips = clips_of("RAVDESS")
    train = next(index for index, clip in enumerate(clips) if clip.speaker == "20")
    test = next(index for index, clip in enumerate(clips) if clip.speaker == "02")
    clips[train] = replace(clips[train], path=file)
    clips[test] = replace(clips[test], path=link)
    with pytest.raises(EdgeSerError, match="is on two sides"):
        split(clips, get_fold("RAVDESS", 1))


def test_guard_fires_for_a_validation_text_in_training() -> None:
    """Protects TESS, where training and validation share the speaker."""
    sides = split(clips_of("TESS"), get_fold("TESS", 1))
    moved = replace(sides.validation[0], path=Path("/another-take.wav"), take="2")
    with pytest.raises(EdgeSerError, match="is trained on and validated on"):
        check_disjoint(replace(sides, train=(*sides.train, moved)))


def test_empty_sides_and_foreign_clips_are_refused() -> None:
    """Protects a training that would run on an incomplete corpus without saying so."""
    fold = get_fold("RAVDESS", 1)
    without_test = [c for c in clips_of("RAVDESS") if c.speaker not in fold.test_speakers]
    with pytest.raises(EdgeSerError, match="leaves nothing for test"):
        split(without_test, fold)
    with pytest.raises(EdgeSerError, match="is of EmoDB, but this fold divides RAVDESS"):
        split(clips_of("EmoDB"), fold)
    with pytest.raises(EdgeSerError, match="no recordings"):
        joint_split([])
    with pytest.raises(EdgeSerError, match="SUBESCO has no speakers held out"):
        joint_split(clips_of("SUBESCO"), {"RAVDESS": fold})


def test_joint_split_holds_out_speakers_of_each_corpus() -> None:
    """Protects the model in the package: of every corpus it is tested on unheard speakers."""
    clips = [clip for name in JOINT_HOLDOUT for clip in clips_of(name)]
    sides = joint_split(clips)
    assert len(sides.train) + len(sides.validation) + len(sides.test) == len(clips)
    for side in (sides.train, sides.validation, sides.test):
        assert {clip.corpus for clip in side} == set(JOINT_HOLDOUT) == set(CORPORA)
    tested = speakers(sides.test)
    assert tested.isdisjoint(speakers(sides.train) | speakers(sides.validation))
    assert {("EmoDB", "03"), ("EmoDB", "08"), ("TESS", "YAF")} <= tested
    for fold in JOINT_HOLDOUT.values():
        if fold.validation_speakers:
            balance = genders(fold.corpus, fold.validation_speakers)
            assert balance["f"] == balance["m"]
    assert all(not set(a) & set(b) for a, b in combinations(map(speakers, _by_speaker(sides)), 2))


def _by_speaker(sides: Split) -> tuple[tuple[Clip, ...], ...]:
    """The three sides without TESS, whose training and validation share the actress."""
    return tuple(
        tuple(clip for clip in side if clip.corpus != "TESS")
        for side in (sides.train, sides.validation, sides.test)
    )
