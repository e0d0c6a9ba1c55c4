"""Protocols: strata, duplicates, what is shared and what is not, and a breach that is declared."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ser.corpora import CORPORA, Clip, find_corpus, load_corpus
from edge_ser.emotions import SEVEN_EMOTIONS
from edge_ser.evaluation import protocols
from edge_ser.evaluation.duplicates import sample_digests
from edge_ser.evaluation.protocols import (
    PROTOCOLS,
    RANDOM_FOLDS,
    Division,
    DivisionKey,
    deal,
    divide,
    keys_of,
)
from edge_ser.evaluation.units import Settings
from edge_ser.guard import Breach
from firmware_host.errors import EdgeSerError


def clips_of(corpus: str, takes: Sequence[str] = ("1", "2")) -> list[Clip]:
    """A clip of each speaker, emotion and take, without files; two texts."""
    return [
        Clip(
            corpus,
            Path(f"/{corpus}/{name}-{emotion}-{text}-{take}.wav"),
            name,
            who.gender,
            emotion,
            text,
            take,
        )
        for name, who in CORPORA[corpus].speakers.items()
        for emotion in CORPORA[corpus].emotions
        for text in "abcd"
        for take in takes
    ]


def digests_of(clips: Sequence[Clip]) -> dict[Path, str]:
    return {clip.path: f"samples of {clip.path}" for clip in clips}


def divided(key: DivisionKey) -> Division:
    clips = [clip for corpus in key.corpora for clip in clips_of(corpus)]
    if PROTOCOLS[key.protocol].augments_before:
        clips = with_copies(clips)
    return divide(key, clips, digests_of(clips))


def with_copies(clips: Sequence[Clip]) -> list[Clip]:
    return [
        replace(clip, path=Path(f"/copies/{clip.path.stem}~{n}.flac")) if n else clip
        for clip in clips
        for n in range(3)
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["sad", "happy", "angry"])),
        min_size=5,
        max_size=120,
    ),
    st.integers(2, 8),
)
def test_dealing_is_stratified(kinds: list[tuple[str, str]], hands: int) -> None:
    """Each hand has as many of an emotion, and of a speaker's emotion, give or take one."""
    clips = [
        Clip("RAVDESS", Path(f"/{number}.wav"), speaker, "f", emotion, "t", str(number))
        for number, (speaker, emotion) in enumerate(kinds)
    ]
    dealt = deal([(clip,) for clip in clips], hands)
    assert sorted((c for hand in dealt for c in hand), key=str) == sorted(clips, key=str)
    by_emotion = [Counter((clip.emotion, "") for clip in hand) for hand in dealt]
    by_both = [Counter((clip.emotion, clip.speaker) for clip in hand) for hand in dealt]
    for strata in (by_emotion, by_both):
        for stratum in {key for counts in strata for key in counts}:
            counts = [count[stratum] for count in strata]
            assert max(counts) - min(counts) <= 1
    again = deal([(clip,) for clip in reversed(clips)], hands)
    assert [set(hand) for hand in again] == [set(hand) for hand in dealt]


@pytest.mark.parametrize("corpus", ["RAVDESS", "EmoDB"])
def test_random_folds_test_every_recording_once(corpus: str) -> None:
    divisions = [divided(key) for key in keys_of("random", (corpus,))]
    assert len(divisions) == RANDOM_FOLDS
    tested = [clip for division in divisions for clip in division.split.test]
    assert sorted(tested, key=str) == sorted(clips_of(corpus), key=str)
    for division in divisions:
        sides = division.split
        everything = [*sides.train, *sides.validation, *sides.test]
        assert sorted(everything, key=str) == sorted(tested, key=str)
        assert set(division.breaches) == {Breach.SPEAKERS, Breach.TAKES}
        assert not PROTOCOLS["random"].leaks
        assert any("speakers are heard" in breach for breach in division.facts["breaches"])
        assert division.facts["near_duplicates"]["test_recordings_with_a_take_in_training"] > 0
        for side in (sides.validation, sides.test):
            by_emotion = Counter(clip.emotion for clip in side)
            assert max(by_emotion.values()) - min(by_emotion.values()) <= 1


def test_exact_duplicates_stay_on_one_side_of_random_folds() -> None:
    """Also under other speakers' names and emotions; and without them it would be refused."""
    clips = clips_of("RAVDESS")
    digests = digests_of(clips)
    pairs = list(pairwise(clips[::17]))[::2]
    for one, other in pairs:
        digests[one.path] = digests[other.path]
    for key in keys_of("random", ("RAVDESS",)):
        division = divide(key, clips, digests)
        for one, other in pairs:
            sides = [
                name
                for name, side in division.split.sides.items()
                for clip in side
                if clip in (one, other)
            ]
            assert len(sides) == 2 and len(set(sides)) == 1
        assert len(division.facts["exact_duplicates"]) == len(pairs)


def test_a_speaker_fold_with_a_duplicate_of_a_test_recording_is_refused() -> None:
    clips = clips_of("RAVDESS")
    digests = digests_of(clips)
    heard = next(clip for clip in clips if clip.speaker == "20")
    tested = next(clip for clip in clips if clip.speaker == "02")
    digests[heard.path] = digests[tested.path]
    with pytest.raises(EdgeSerError, match="holds the same samples"):
        divide(DivisionKey("speaker", ("RAVDESS",), "RAVDESS", 1), clips, digests)


def test_the_paper_protocol_leaks_and_says_so() -> None:
    assert PROTOCOLS["paper"].leaks and "leaks" in PROTOCOLS["paper"].in_words
    for key in keys_of("paper", ("EmoDB",)):
        division = divided(key)
        sides = division.split
        assert sides.validation == sides.test
        assert {Breach.SELECTION, Breach.COPIES, Breach.DUPLICATES} <= set(division.breaches)
        said = " ".join(division.facts["breaches"])
        assert "augmented copies of test recordings are trained on" in said
        assert "chosen on the test recordings" in said
        assert min(division.facts["augmented_copies"].values()) > 0


def test_no_other_protocol_lets_the_papers_division_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The label cannot be left off: under another name the same division is refused."""
    clips = with_copies(clips_of("EmoDB"))
    paper_rule = protocols.RULES["paper"]
    for name in ("speaker", "random"):
        monkeypatch.setitem(protocols.RULES, name, paper_rule)
        with pytest.raises(EdgeSerError, match=r"speakers are disjoint|give each file once|augm"):
            divide(DivisionKey(name, ("EmoDB",), "EmoDB", 1), clips, digests_of(clips))


def test_what_is_trained_on_first_is_all_of_the_other_corpora() -> None:
    """None of the corpus that is tested on: so all folds of it may share what was learned."""
    names = ("RAVDESS", "EmoDB", "BanglaSER", "TESS")
    keys = keys_of("speaker", names, pretrain=names)
    assert len(keys) == 5 + 10 + 5 + 2
    ablated = Settings(size="small", eca=False, kinds=("mfcc",), teachers=3).slug
    taught = Settings(size="small", teachers=3, refit_epochs=40, pupil_epochs=300).slug
    longest = max(ablated, taught, key=len)
    for key in keys:  # the model is named after it, and a contract has room for 64 letters
        assert key.pretrain_on == tuple(name for name in names if name != key.test_on)
        assert len(f"{key.slug}-{longest}-seed0") <= 64
    for key in (keys[3], keys[12], keys[-1]):  # a fold of RAVDESS, Emo-DB, TESS
        pretrained = divided(key)
        alone = divided(DivisionKey("speaker", (key.test_on,), key.test_on, key.index))
        assert replace(pretrained.split, pretraining=()) == alone.split
        first = [clip for name in key.pretrain_on for clip in clips_of(name)]
        assert pretrained.split.pretraining == tuple(first) and not pretrained.breaches
        assert pretrained.facts["clips"]["pretraining"] == len(first)
    with pytest.raises(EdgeSerError, match="pretraining is for speaker"):
        keys_of("random", names, pretrain=names)
    with pytest.raises(EdgeSerError, match="name another corpus with --pretrain"):
        keys_of("speaker", names, pretrain=("TESS",))


def test_nothing_that_is_tested_on_may_be_trained_on_first() -> None:
    """Neither test speakers nor, under another corpus's name, a test recording."""
    leaking = DivisionKey("speaker", ("EmoDB",), "EmoDB", 1, ("EmoDB",))
    with pytest.raises(EdgeSerError, match=r"speaker .* of EmoDB is tested on and also trained"):
        divided(leaking)
    key = DivisionKey("speaker", ("EmoDB",), "EmoDB", 1, ("TESS",))
    clips = [*clips_of("EmoDB"), *clips_of("TESS")]
    test = divided(key).split.test[0]
    copied = next(clip for clip in clips if clip.corpus == "TESS")
    digests = digests_of(clips)
    with pytest.raises(EdgeSerError, match="holds the same samples"):
        divide(key, clips, {**digests, copied.path: digests[test.path]})


@pytest.mark.parametrize("protocol", ["cross", "loco"])
def test_another_corpus_is_tested_whole_and_never_heard(protocol: str) -> None:
    for key in keys_of(protocol, ("RAVDESS", "EmoDB", "BanglaSER", "TESS")):
        division = divided(key)
        sides = division.split
        assert {clip.corpus for clip in sides.test} == {key.test_on}
        assert {clip.corpus for clip in sides.train} == set(key.train_on)
        assert {clip.corpus for clip in sides.validation} == set(key.train_on)
        assert key.test_on not in key.train_on and not division.breaches
        known = set(division.head.label_of)
        expected = [clip for clip in clips_of(key.test_on) if clip.emotion in known]
        assert list(sides.test) == expected
        used = {division.head.label_of[c.emotion] for side in sides.sides.values() for c in side}
        assert used <= set(division.head.labels)
        if protocol == "cross":
            both = set(find_corpus(key.train_on[0]).emotions) & set(
                find_corpus(key.test_on).emotions
            )
            assert set(division.head.labels) == both == used
        else:
            assert division.head.labels == SEVEN_EMOTIONS


def test_the_divisions_of_a_protocol() -> None:
    assert [key.slug for key in keys_of("cross", ("ravdess",), "emodb")] == ["cross-ravdess-emodb"]
    assert len(keys_of("cross", ("RAVDESS", "EmoDB", "TESS"))) == 6
    assert [key.test_on for key in keys_of("loco", ())] == list(protocols.FOUR_CORPORA)
    assert len(keys_of("speaker", ("EmoDB", "TESS"))) == 12
    assert [key.index for key in keys_of("random", ("TESS",), folds=(2, 4))] == [2, 4]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nested", ("TESS",)), "no protocol 'nested'"),
        (("speaker", ("crema-d",)), "crema-d"),
        (("speaker", ()), "--corpus"),
        (("speaker", ("TESS",), None, (3,)), "no fold 3: choose one from 1 to 2"),
        (("speaker", ("TESS",), "EmoDB"), "leave --test-corpus out"),
        (("cross", ("TESS",)), "--test-corpus"),
        (("cross", ("TESS",), "TESS"), "another corpus"),
        (("loco", ("TESS",)), "at least two"),
    ],
)
def test_what_cannot_be_divided_gets_one_sentence(
    arguments: tuple[str, tuple[str, ...]], words: str
) -> None:
    with pytest.raises(EdgeSerError, match=words) as error:
        keys_of(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("corpus", ["RAVDESS", "BanglaSER"])
def test_published_duplicates_are_found_in_the_samples(
    corpus: str, corpora_dir: Path, tmp_path: Path
) -> None:
    """What is known of the real corpora, found without their manifests."""
    clips = load_corpus(corpora_dir, corpus)
    digests = sample_digests(clips, tmp_path, jobs=2)
    for key in keys_of("random", (corpus,)):
        found = divide(key, clips, digests).facts["exact_duplicates"]
        assert {frozenset(names) for names in found} == CORPORA[corpus].known.duplicates
