"""Kept features are those that reading gives, bit for bit, whoever computes them."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tone_corpus import write_tone_corpus

from edge_ser import folders
from edge_ser.augment import AugmentConfig
from edge_ser.corpora import Clip, load_corpus
from edge_ser.dataset import ClipFeatures, read_clips
from edge_ser.evaluation import feature_store
from edge_ser.evaluation.copies import with_copies
from edge_ser.evaluation.duplicates import groups_of_duplicates, sample_digests
from edge_ser.evaluation.feature_store import FeatureStore
from edge_ser.folders import made_once
from edge_ser.guard import copy_number, recording_name
from firmware_host.errors import EdgeSerError
from firmware_host.features import FeatureConfig

FEATURES, AUGMENT = FeatureConfig(), AugmentConfig(copies=2)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return load_corpus(write_tone_corpus(tmp_path_factory.mktemp("corpora")), "RAVDESS")[:8]


def same(ours: list[ClipFeatures], theirs: list[ClipFeatures]) -> bool:
    return all(
        (a.clip, a.label, len(a.copies)) == (b.clip, b.label, len(b.copies))
        and all(np.array_equal(x, y) for x, y in zip(a.copies, b.copies, strict=True))
        for a, b in zip(ours, theirs, strict=True)
    )


def test_kept_features_are_those_of_the_recordings(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of some of the clips, in any order, augmented or padded; and audio is read once."""
    digests = sample_digests(clips, tmp_path)
    some, labels = [clips[5], clips[0], clips[3]], [2, 0, 1]
    mfcc = replace(FEATURES, kinds=("mfcc",))
    for augment, at_least in ((AUGMENT, 0), (None, 320)):
        store = FeatureStore(clips, digests, tmp_path)
        expected = read_clips(some, labels, FEATURES, augment, 7, at_least)
        assert same(store.read(some, labels, FEATURES, augment, 7, at_least), expected)
        with monkeypatch.context() as patch:
            patch.setattr(feature_store, "read_clips", None)
            again = FeatureStore(clips, digests, tmp_path)
            # What a model hears of the features is cut when a batch is made.
            assert same(again.read(some, labels, mfcc, augment, 7, at_least), expected)
    with pytest.raises(TypeError), monkeypatch.context() as patch:
        patch.setattr(feature_store, "read_clips", None)
        store.read(some, labels, FEATURES, AUGMENT, seed=8)
    stranger = replace(clips[0], path=Path("/elsewhere.wav"))
    with pytest.raises(EdgeSerError, match="none of the recordings"):
        store.read([stranger], [0], FEATURES)


def test_a_changed_recording_is_read_again(clips: list[Clip], tmp_path: Path) -> None:
    samples, rate = soundfile.read(clips[0].path)
    changed = replace(clips[0], path=tmp_path / clips[0].path.name)
    soundfile.write(changed.path, samples, rate)
    before = sample_digests([changed], tmp_path / "cache")
    assert before[changed.path] == sample_digests(clips, tmp_path / "cache")[clips[0].path]
    first = FeatureStore([changed], before, tmp_path / "cache").read([changed], [0], FEATURES)
    soundfile.write(changed.path, 0.5 * samples, rate)
    os.utime(changed.path, ns=(1, 1))
    after = sample_digests([changed], tmp_path / "cache")
    assert before != after
    second = FeatureStore([changed], after, tmp_path / "cache").read([changed], [0], FEATURES)
    assert not same(first, second)


def test_copies_are_files_that_know_their_recording(clips: list[Clip], tmp_path: Path) -> None:
    digests = sample_digests(clips, tmp_path)
    made = with_copies(clips, digests, AUGMENT, 16_000, 0, tmp_path)
    assert [copy_number(clip.path) for clip in made] == [0, 1, 2] * len(clips)
    for number, clip in enumerate(made):
        origin = clips[number // 3]
        assert recording_name(clip.path) == origin.path.stem
        assert replace(clip, path=origin.path) == origin
    every = sample_digests(made, tmp_path)
    assert len(groups_of_duplicates(made, every)) == len(made)
    before = {clip.path: clip.path.stat().st_mtime_ns for clip in made}
    assert with_copies(clips, digests, AUGMENT, 16_000, 0, tmp_path) == made
    assert before == {clip.path: clip.path.stat().st_mtime_ns for clip in made}


def test_exact_duplicates_are_found_whatever_the_file(clips: list[Clip], tmp_path: Path) -> None:
    """By samples: FLAC and WAV of one recording are one."""
    samples, rate = soundfile.read(clips[0].path, dtype="int16")
    twin = replace(clips[0], path=tmp_path / "twin.flac")
    soundfile.write(twin.path, samples, rate)
    made = [*clips, twin]
    groups = groups_of_duplicates(made, sample_digests(made, tmp_path))
    assert [group for group in groups if len(group) > 1] == [(clips[0], twin)]
    twin.path.write_bytes(b"no audio")
    with pytest.raises(EdgeSerError, match=r"twin\.flac cannot be read"):
        sample_digests(made, tmp_path)


def test_a_folder_is_made_once_by_two_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With locks the second waits; where there are none, both make it and one whole one stays."""
    for number, locks in enumerate((True, False)):
        if not locks:
            monkeypatch.setattr(folders, "locked", lambda _: contextlib.nullcontext())
        made: list[Path] = []

        def make(folder: Path, made: list[Path] = made) -> None:
            made.append(folder)
            (folder / "a").write_text("a")
            time.sleep(0.1)  # so that the other one comes while it is half made
            (folder / "b").write_text("b")

        folder = tmp_path / str(number)
        threads = [threading.Thread(target=made_once, args=(folder, make)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(p.name for p in folder.iterdir()) == ["a", "b"]
        assert len(made) == 1 or not locks
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def test_killed_while_it_is_made_nothing_half_is_left(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from edge_ser.folders import made_once
def make(folder):
    (folder / "half").write_text("half")
    print("half", flush=True)
    time.sleep(600)
made_once(Path(sys.argv[1]), make)
"""
    folder = tmp_path / "folder"
    command = [sys.executable, "-c", script, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert not folder.exists()
        process.kill()
    made_once(folder, lambda path: (path / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]
