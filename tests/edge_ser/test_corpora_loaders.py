"""Loaders: every recording, under the right speaker, emotion and text, in any layout."""

import csv
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_ser.corpora import (
    CORPORA,
    DATA_VARIABLE,
    Clip,
    corpora_root,
    find_corpus,
    load_corpus,
)
from edge_ser.emotions import EMOTIONS
from firmware_host.errors import EdgeSerError

# What the manifests beside the corpora call the emotions.
CANONICAL = {
    "anger": "angry",
    "boredom": "bored",
    "fear": "fearful",
    "happiness": "happy",
    "sadness": "sad",
    "surprise": "surprised",
    "pleasant_surprise": "surprised",
}


def manifest_text(clip: Clip) -> str:
    """A clip's text in the manifests' words: they fold the take into it where it has a number."""
    if clip.corpus in ("RAVDESS", "BanglaSER"):
        intensity, repetition = clip.take.split("-")
        return f"S{clip.text}_R{repetition}_I{intensity}"
    return clip.text


@pytest.mark.parametrize("name", ["TESS", "RAVDESS", "BanglaSER", "EmoDB"])
def test_every_recording_agrees_with_the_manifest(name: str, corpora_dir: Path) -> None:
    """Protects the labels: made from file names alone, they agree with an independent list."""
    with (corpora_dir / f"{name}.csv").open(encoding="utf-8") as file:
        expected = {
            row["file"]: (
                row["speaker"],
                row["gender"],
                CANONICAL.get(row["emotion"], row["emotion"]),
                row["text"],
            )
            for row in csv.DictReader(file)
        }
    loaded = {
        clip.path.relative_to(corpora_dir / name).as_posix(): (
            clip.speaker,
            clip.gender,
            clip.emotion,
            manifest_text(clip),
        )
        for clip in load_corpus(corpora_dir, name)
    }
    assert loaded == expected


@pytest.mark.parametrize("name", CORPORA)
def test_published_figures_are_consistent(name: str) -> None:
    """Protects the figures in the code: labels and speakers add up to the same corpus."""
    corpus = CORPORA[name]
    assert sum(speaker.n_files for speaker in corpus.speakers.values()) == corpus.n_files
    assert set(corpus.emotions) <= set(EMOTIONS)
    if corpus.proper_names and name not in ("TESS", "SUBESCO"):
        names = corpus.proper_names(())
        assert len(names) == corpus.n_files
        parsed = [corpus.parse(proper) for proper in names]
        assert all(facts and facts.proper_name in names for facts in parsed)
        counts = {
            label: sum(facts is not None and facts.emotion == label for facts in parsed)
            for label in corpus.labels
        }
        assert counts == dict(corpus.labels)


def test_subesco_from_its_published_naming(make: Callable[..., None], tmp_path: Path) -> None:
    """Protects SUBESCO's loader: every field of its names, its stereo 44.1 kHz files, and the
    published name with a stray bracket."""
    people = {"F_01_OISHI": "F01", "F_02_MONIKA": "F02", "M_01_ADIT": "M01"}
    words = ("ANGRY", "DISGUST", "FEAR", "HAPPY", "NEUTRAL", "SAD", "SURPRISE")
    for person, word, sentence in product(people, words, (1, 10)):
        make(f"SUBESCO/{person}_S_{sentence}_{word}_3.wav", rate=44_100, channels=2)
    odd = "SUBESCO/F_02_MONIKA_S_2_SURPRISE_3].wav"
    make(odd)
    make("SUBESCO/F_11_NOBODY_S_1_SAD_1.wav")  # there is no eleventh woman
    clips = load_corpus(tmp_path, "SUBESCO")
    assert len(clips) == 3 * 7 * 2 + 1
    assert {clip.speaker for clip in clips} == set(people.values())
    assert {clip.gender for clip in clips if clip.speaker.startswith("M")} == {"m"}
    by_name = {clip.path.name: clip for clip in clips}
    assert by_name["M_01_ADIT_S_10_FEAR_3.wav"] == Clip(
        "SUBESCO", tmp_path / "SUBESCO/M_01_ADIT_S_10_FEAR_3.wav", "M01", "m", "fearful", "10", "3"
    )
    assert by_name[Path(odd).name].emotion == "surprised"
    assert by_name[Path(odd).name].take == "3"


def test_publishers_trees_and_flat_copies_load_alike(
    make: Callable[..., None], tmp_path: Path
) -> None:
    """Protects the user who just unpacks what the publisher or a mirror offers."""
    speech = "Audio_Speech_Actors_01-24/Actor_12"
    make(f"nested/RAVDESS/{speech}/03-01-06-01-02-01-12.wav")
    make(f"nested/RAVDESS/{speech}/03-01-01-01-01-01-12.WAV", rate=48_000, channels=2)
    make(f"nested/RAVDESS/{speech}/.hidden/03-01-02-01-01-01-12.wav")
    make("nested/RAVDESS/__MACOSX/Actor_12/._03-01-06-01-02-01-12.wav")
    make("nested/RAVDESS/Audio_Song_Actors_01-24/Actor_12/03-02-06-01-02-01-12.wav")
    make("flat/ravdess/03-01-06-01-02-01-12.flac", container="FLAC")
    make("flat/ravdess/03-01-01-01-01-01-12.aiff", container="AIFF")
    nested = load_corpus(tmp_path / "nested", "RAVDESS")
    flat = load_corpus(tmp_path / "flat", "ravdess")

    def facts(clips: list[Clip]) -> list[tuple[str, ...]]:
        return [(c.speaker, c.gender, c.emotion, c.text, c.take) for c in clips]

    assert facts(nested) == facts(flat)
    assert facts(nested) == [
        ("12", "f", "neutral", "01", "01-01"),
        ("12", "f", "fearful", "02", "01-01"),
    ]


def test_a_mirrors_doubled_folder_counts_each_recording_once(
    make: Callable[..., None], tmp_path: Path
) -> None:
    """Protects training from the second copy of every file that a mirror's TESS has."""
    tree = "TESS Toronto emotional speech set data"
    for folder in (tree, f"{tree}/{tree}"):
        make(f"TESS/{folder}/OAF_Pleasant_surprise/OAF_back_ps.wav", rate=24_414)
        make(f"TESS/{folder}/OAF_neutral/OA_bite_neutral.wav", rate=24_414)
        # AIFF under the name .wav, as two of the published files are
        make(f"TESS/{folder}/YAF_fear/YAF_neat_fear.wav", rate=24_414, container="AIFF")
    clips = load_corpus(tmp_path, "TESS")
    assert [(c.speaker, c.text, c.emotion) for c in clips] == [
        ("OAF", "back", "surprised"),
        ("OAF", "bite", "neutral"),
        ("YAF", "neat", "fearful"),
    ]
    assert all(clip.path.parent.parent.parent == tmp_path / "TESS" for clip in clips)


def test_emodb_in_its_wav_folder_and_banglaser_in_actor_folders(
    make: Callable[..., None], tmp_path: Path
) -> None:
    """Protects two layouts, and BanglaSER's digits, which are not RAVDESS's."""
    make("EmoDB/wav/03a01Fa.wav")
    make("EmoDB/wav/16b10Lb.wav")
    make("BanglaSER/t9h6p943xy-5/Actor 15/01-01-04-02-03-02-15.wav")
    make("BanglaSER/t9h6p943xy-5/Actor 34/03-01-05-01-01-03-34.wav")
    emodb = load_corpus(tmp_path, "emodb")
    assert [(c.speaker, c.gender, c.emotion, c.text, c.take) for c in emodb] == [
        ("03", "m", "happy", "a01", "a"),
        ("16", "f", "bored", "b10", "b"),
    ]
    bangla = load_corpus(tmp_path, "BANGLASER")
    assert [(c.speaker, c.gender, c.emotion, c.text, c.take) for c in bangla] == [
        ("15", "m", "surprised", "03", "02-02"),
        ("34", "f", "neutral", "01", "01-03"),
    ]


def test_what_is_wrong_is_said_in_one_sentence(
    make: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the person who gives a wrong name or folder."""
    with pytest.raises(EdgeSerError, match="TESS, RAVDESS, BanglaSER, SUBESCO, EmoDB"):
        find_corpus("CREMA-D")
    with pytest.raises(EdgeSerError, match="no folder RAVDESS"):
        load_corpus(tmp_path, "RAVDESS")
    make("RAVDESS/holiday.wav")
    with pytest.raises(EdgeSerError, match="no recordings of RAVDESS"):
        load_corpus(tmp_path, "RAVDESS")
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    with pytest.raises(EdgeSerError, match=f"--data DIR or set {DATA_VARIABLE}"):
        corpora_root(None)
    with pytest.raises(EdgeSerError, match="is no folder"):
        corpora_root(tmp_path / "nowhere")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert corpora_root(None) == tmp_path


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., None]:
    """Writes a short recording under tmp_path, in the given container whatever its name."""

    def write(name: str, rate: int = 16_000, channels: int = 1, container: str = "WAV") -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = 0.1 * np.sin(np.arange(400 * channels)).reshape(-1, channels)
        soundfile.write(path, tone, rate, format=container, subtype="PCM_16")

    return write
