"""`edge-ser bench` on real model files and real recordings: what it prints is what they do."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from tiny_models import tiny_contract, write_onnx, write_tflite
from untrained import untrained_checkpoint

from convert.architecture import ModelConfig, count_macs, count_parameters
from convert.checkpoint import Checkpoint, write_checkpoint
from convert.pipeline import convert
from edge_ser.bench.clips import HELD_OUT, OTHER_CORPUS, SEEN, UNKNOWN, ClipChoice, choose_clips
from edge_ser.bench.measure import BenchResult, BenchRow, bench
from edge_ser.bench.recognition import Heard, certainty_of_all, recognise, score_corpus
from edge_ser.bench.report import to_json, to_markdown, write_report
from edge_ser.bench.speed import measure_footprint
from edge_ser.corpora import Clip, load_corpus
from edge_ser.corpora.ravdess import DIGITS
from edge_ser.dataset import Normaliser
from edge_ser.emotions import SEVEN_FROM_CANONICAL
from edge_ser.folds import get_fold
from edge_ser.model import EmotionNet
from firmware_host import EmotionRecognizer, read_contract
from firmware_host.audio import resample
from firmware_host.errors import EdgeSerError
from firmware_host.features import FeatureConfig, extract
from firmware_host.normalisation import Normalisation

TEST_ACTORS = get_fold("RAVDESS", 1).test_speakers
TRAINING_ACTOR = "01"
TRAINED = {
    "corpora": ["RAVDESS"],
    "fold": 1,
    "label_of": dict(SEVEN_FROM_CANONICAL),
}
RATE = 22_050  # not the model's
WINDOW = 320
PICTURES = re.compile(r"!\[[^]]*\]\(\w+\.svg\)\n\n")


def sound_of(number: int, n_samples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Noise: an emotion, by its number from 1, is a slope of the spectrum."""
    noise = generator.normal(0, 0.1, n_samples)
    slope = np.fft.rfftfreq(n_samples, 1 / RATE).clip(100) ** (-number / 6)
    sound = np.fft.irfft(np.fft.rfft(noise) * slope, n_samples)
    return np.asarray(sound * 0.3 / np.abs(sound).max())


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sounds named as RAVDESS names its files."""
    root = tmp_path_factory.mktemp("corpora")
    generator = np.random.default_rng(0)
    for actor in (*TEST_ACTORS, TRAINING_ACTOR):
        folder = root / "RAVDESS" / f"Actor_{actor}"
        folder.mkdir(parents=True)
        for number, digits in enumerate(DIGITS, start=1):
            sound = sound_of(number, int(RATE * generator.uniform(0.8, 4.2)), generator)
            name = f"03-01-{digits}-01-01-01-{actor}.wav"
            soundfile.write(folder / name, sound, RATE)
    return root


@pytest.fixture(scope="module")
def trained() -> Checkpoint:
    """An untrained network that tells such sounds apart, in some way, so that labels vary."""
    generator, features = np.random.default_rng(1), FeatureConfig()
    sounds = [sound_of(number, 4 * RATE, generator) for number in range(1, len(DIGITS) + 1)]
    windows = np.stack(
        [extract(resample(s.astype(np.float32), RATE), features)[:WINDOW] for s in sounds]
    )
    mean, std = (f(windows, axis=(0, 1)).tolist() for f in (np.mean, np.std))
    normalisation = Normalisation.of(features, tuple(mean), tuple(std))
    torch.manual_seed(0)
    batch = Normaliser.of(normalisation)(torch.from_numpy(windows))
    return replace(
        untrained_checkpoint(EmotionNet(ModelConfig()), batch, centred=True),
        name="bench-me",
        normalisation=normalisation,
        training=TRAINED,
    )


@pytest.fixture(scope="module")
def models(trained: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `edge-ser convert --int8` writes: ONNX and TFLite, float32 and INT8."""
    folder = tmp_path_factory.mktemp("models")
    write_checkpoint(folder / "bench-me.safetensors", trained)
    convert(folder / "bench-me.safetensors", folder)
    return folder


@pytest.fixture(scope="module")
def result(models: Path, corpora: Path) -> BenchResult:
    """All four files on the recordings."""
    return bench([models], corpora, ["ravdess"], runs=3)


def row_of(result: BenchResult, file: str) -> BenchRow:
    return next(row for row in result.rows if row.file == file)


def heard_alone(model: Path, clips: list[Clip]) -> list[str]:
    """What a user's recogniser says, one recording after the other."""
    recognizer = EmotionRecognizer(model)
    return [recognizer.recognize_file(clip.path).label for clip in clips]


def test_the_scores_are_those_of_the_users_recogniser(
    result: BenchResult, models: Path, corpora: Path
) -> None:
    """Files that share features hear what each hears by itself, and UAR counts just that."""
    clips = [c for c in load_corpus(corpora, "RAVDESS") if c.speaker in TEST_ACTORS]
    for row in result.rows:
        labels = heard_alone(models / row.file, clips)
        assert len(set(labels)) > 1  # else everything below is true of anything
        confusion = np.zeros((7, 7), int)
        for clip, label in zip(clips, labels, strict=True):
            truth = SEVEN_FROM_CANONICAL[clip.emotion]
            confusion[row.labels.index(truth), row.labels.index(label)] += 1
        (score,) = row.scores
        assert score.confusion == tuple(map(tuple, confusion.tolist()))
        assert score.uar == pytest.approx(np.mean(np.diag(confusion) / confusion.sum(axis=1)))
        assert score.accuracy == pytest.approx(np.trace(confusion) / len(clips))
        assert (score.clips, score.speakers) == (len(clips), TEST_ACTORS)
        assert score.status == HELD_OUT


def test_int8_stands_against_the_float_file_of_its_format(
    result: BenchResult, models: Path, corpora: Path
) -> None:
    """Difference and agreement are of the two files' own labels, clip by clip."""
    clips = [c for c in load_corpus(corpora, "RAVDESS") if c.speaker in TEST_ACTORS]
    for suffix in ("onnx", "tflite"):
        int8, whole = (f"bench-me.{precision}.{suffix}" for precision in ("int8", "float32"))
        against = row_of(result, int8).scores[0].against_float
        assert against is not None
        assert against.file == whole
        pairs = zip(
            heard_alone(models / int8, clips), heard_alone(models / whole, clips), strict=True
        )
        assert against.agreement == pytest.approx(np.mean([a == b for a, b in pairs]))
        difference = row_of(result, int8).scores[0].uar - row_of(result, whole).scores[0].uar
        assert against.uar_points == pytest.approx(100 * difference)
        assert row_of(result, whole).scores[0].against_float is None


def test_sizes_and_counts_are_those_of_the_files(
    result: BenchResult, models: Path, trained: Checkpoint
) -> None:
    """Bytes are the file's, the ratio is to the float32 ONNX file, INT8 is the smaller."""
    whole = (models / "bench-me.float32.onnx").stat().st_size
    assert len(result.rows) == 4
    for row in result.rows:
        assert row.n_bytes == (models / row.file).stat().st_size
        assert row.ratio == row.n_bytes / whole
        assert row.parameters == count_parameters(trained.model)
        assert row.macs_per_window == count_macs(trained.model, trained.window_frames)
        assert 0 < row.model_latency.p50_ms <= row.model_latency.p95_ms
        assert 0 < row.features_latency.p50_ms <= row.features_latency.p95_ms
        assert row.footprint.load_ms > 0
        assert row.file == f"bench-me.{row.precision}.{row.format.lower()}"
    for suffix in ("onnx", "tflite"):
        int8, float32 = (row_of(result, f"bench-me.{p}.{suffix}") for p in ("int8", "float32"))
        assert int8.n_bytes < float32.n_bytes / 2


def test_memory_is_that_of_a_process_of_its_own(models: Path) -> None:
    """What the measuring process holds does not count, though a child of it is measured."""
    ballast = np.ones(300 * 2**20, np.uint8)
    found = measure_footprint(models / "bench-me.int8.onnx", "onnxruntime")
    assert 10e6 < found.peak_bytes < ballast.nbytes


def test_processes_change_nothing(result: BenchResult, models: Path, corpora: Path) -> None:
    """Two processes hear what one hears, in the same order."""
    clips = [c.path for c in load_corpus(corpora, "RAVDESS")]
    files = tuple((models / row.file, row.engine) for row in result.rows)
    one, two = (recognise(files, [clips] * len(files), jobs) for jobs in (1, 2))
    assert one == two
    assert len(one[0]) == len(clips)


def test_models_of_different_input_are_heard_apart(
    models: Path, corpora: Path, tmp_path: Path
) -> None:
    """A file with other windows and normalisation among them changes nobody's result."""
    contract = tiny_contract()
    tiny = write_onnx(tmp_path / "tiny.onnx", contract)
    clips = [c for c in load_corpus(corpora, "RAVDESS") if c.speaker in TEST_ACTORS][:12]
    files = ((models / "bench-me.int8.onnx", "onnxruntime"), (tiny, "onnxruntime"))
    heard = recognise(files, [[c.path for c in clips]] * 2)
    for (path, _), found in zip(files, heard, strict=True):
        labels = read_contract(path).labels
        assert [labels[one.label] for one in found] == heard_alone(path, clips)


# --- reports -----------------------------------------------------------------------------


def markdown_tables(text: str) -> list[list[list[str]]]:
    """Rows of cells of each table, headings first."""
    tables: list[list[list[str]]] = []
    before = ""
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            if not before.startswith("|"):
                tables.append([])
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        before = line
    return tables


def is_cut(cell: str, share: float) -> bool:
    """Whether this is the share in percent, cut to a decimal: never more than was measured."""
    return 0 <= 100 * share - float(cell) + 1e-6 < 0.1 + 1e-6


def test_markdown_and_json_say_the_same(result: BenchResult) -> None:
    """Every number in the Markdown is the JSON's, rounded."""
    data = json.loads(to_json(result))
    files, scores = markdown_tables(to_markdown(result))
    assert len(files) == len(scores) == 1 + len(data["rows"])
    for row, cells, line in zip(data["rows"], files[1:], scores[1:], strict=True):
        assert cells[:5] == [
            row["file"],
            row["format"],
            row["precision"],
            row["engine"],
            f"{row['n_bytes']:,}",
        ]
        (score,) = row["scores"]
        values = [
            row["ratio"],
            row["parameters"],
            row["macs_per_window"],
            row["model_latency"]["p50_ms"],
            row["model_latency"]["p95_ms"],
            row["features_latency"]["p50_ms"],
            row["features_latency"]["p95_ms"],
            row["footprint"]["load_ms"],
            row["footprint"]["peak_bytes"] / 1e6,
        ]
        assert is_cut(cells.pop(8), score["uar"])
        for cell, value in zip(cells[5:], values, strict=True):
            decimals = len(cell.partition(".")[2])
            assert float(cell.replace(",", "")) == pytest.approx(value, abs=0.51 * 10**-decimals)
        assert line[:5] == [
            "RAVDESS",
            "fold 1, held out",
            row["file"],
            row["engine"],
            str(score["clips"]),
        ]
        assert is_cut(line[5], score["uar"])
        assert is_cut(line[7], score["accuracy"])
        for cell, bound in zip(line[6].split(" to "), score["uar_interval"], strict=True):
            assert is_cut(cell, bound)
        if against := score["against_float"]:
            assert float(line[9]) == pytest.approx(against["uar_points"], abs=0.051)
            assert is_cut(line[12], against["agreement"])
        assert float(line[13]) == pytest.approx(100 * score["calibration_error"], abs=0.051)
        assert float(line[14]) == pytest.approx(100 * score["uncalibrated_error"], abs=0.051)
        kept = next(point for point in score["coverage"] if point["coverage"] == 0.7)
        assert is_cut(line[15], kept["accuracy"])


def test_several_corpora_get_a_table_of_all_together(
    result: BenchResult, models: Path, corpora: Path, tmp_path: Path
) -> None:
    """In Markdown and JSON, over the recordings of both; one corpus alone has none."""
    generator = np.random.default_rng(2)
    (tmp_path / "RAVDESS").symlink_to(corpora / "RAVDESS")
    (tmp_path / "EmoDB").mkdir()
    for number, letter in enumerate("NFTWAE", start=1):
        sound = sound_of(number, 2 * RATE, generator)
        soundfile.write(tmp_path / "EmoDB" / f"03a01{letter}a.wav", sound, RATE)
    assert {row.certainty for row in result.rows} == {None}
    assert "All corpora together" not in to_markdown(result)
    both = bench([models / "bench-me.int8.onnx"], tmp_path, ["RAVDESS", "EmoDB"], runs=3)
    (row,) = both.rows
    sure = row.certainty
    assert sure is not None
    clips = [score.clips for score in row.scores]
    assert clips[1] > 0
    right = sum(score.accuracy * score.clips for score in row.scores)
    assert sure.coverage[0].clips == sum(clips)
    assert sure.coverage[0].accuracy == pytest.approx(right / sum(clips))
    *_, table = markdown_tables(to_markdown(both))
    assert table[1][2] == str(sum(clips))
    assert is_cut(table[1][3], right / sum(clips))
    assert float(table[1][4]) == pytest.approx(100 * sure.calibration_error, abs=0.051)
    (data,) = json.loads(to_json(both))["rows"]
    assert data["certainty"]["calibration_error"] == sure.calibration_error


def test_markdown_states_the_protocol_and_the_machine(result: BenchResult) -> None:
    """A reader learns who was tested, how, and on what."""
    text = to_markdown(result)
    assert "fold 1: speaker-disjoint: held out" in text
    assert ", ".join(TEST_ACTORS) in text
    assert "nothing was chosen on them" in text
    assert result.machine["cpu"] in text
    assert f"onnxruntime {result.machine['versions']['onnxruntime']}" in text


def test_the_picture_is_whole_and_repeats(result: BenchResult, tmp_path: Path) -> None:
    """The same result gives the same SVG, without the day on which it was drawn."""
    written = [write_report(result, tmp_path / name) for name in ("one", "two")]
    assert [path.name for path in written[0]] == [
        "bench.json",
        "bench.md",
        "bench.svg",
        "bench.png",
        "confusions.svg",
        "confusions.png",
        "confidence.svg",
        "confidence.png",
    ]
    for one, two in zip(*written, strict=True):
        assert one.read_bytes() == two.read_bytes()
    for stem in ("bench", "confusions", "confidence"):
        assert "<dc:date>" not in (tmp_path / "one" / f"{stem}.svg").read_text()
        assert (tmp_path / "one" / f"{stem}.png").read_bytes().startswith(b"\x89PNG")


# --- which clips -------------------------------------------------------------------------


def make_clips(speakers: int = 24) -> list[Clip]:
    """RAVDESS's grid of one recording a speaker and emotion, in the order of its names."""
    return [
        Clip("RAVDESS", Path(f"{emotion}-{n:02d}.wav"), f"{n:02d}", "f", emotion, "01", "01")
        for emotion in DIGITS.values()
        for n in range(1, speakers + 1)
    ]


def choose(training: Mapping[str, Any], **options: Any) -> ClipChoice:
    labels = ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    contract = replace(tiny_contract(golden=()), labels=labels, training=training)
    return choose_clips("m.onnx", contract, "RAVDESS", make_clips(), **options)


def test_the_fold_of_the_training_is_the_default() -> None:
    """Speakers come from the model file itself; calm counts as neutral."""
    found = choose(TRAINED)
    assert (found.speakers, found.status) == (TEST_ACTORS, HELD_OUT)
    assert {found.truth[i] for i, c in enumerate(found.clips) if c.emotion == "calm"} == {0}
    assert choose(TRAINED | {"fold": "joint", "corpora": ["RAVDESS", "TESS"]}).status == HELD_OUT


def test_a_corpus_that_was_trained_on_first_is_known_whole() -> None:
    """Also of a fold's test speakers, as no fold of it was held out."""
    training = TRAINED | {"corpora": ["TESS"], "pretrained_on": ["RAVDESS"]}
    for fold in (None, 1):
        with pytest.raises(EdgeSerError, match="--allow-seen"):
            choose(training, fold=fold)
        assert choose(training, fold=fold, allow_seen=True).status == SEEN


def test_speakers_of_the_training_are_refused() -> None:
    """Another fold's test speakers trained this model: only on demand, and marked."""
    with pytest.raises(EdgeSerError, match="--allow-seen"):
        choose(TRAINED, fold=2)
    found = choose(TRAINED, fold=2, allow_seen=True)
    assert (found.speakers, found.status) == (get_fold("RAVDESS", 2).test_speakers, SEEN)
    assert choose(TRAINED, fold=1).status == HELD_OUT


def test_a_model_that_does_not_say_its_training_needs_a_fold() -> None:
    """Nobody knows whom it heard, and the result says so."""
    with pytest.raises(EdgeSerError, match="--fold N"):
        choose({"corpora": []})
    assert choose({"corpora": []}, fold=3).status == UNKNOWN


def test_another_corpus_is_heard_whole() -> None:
    """All its speakers are strangers to the model."""
    found = choose(TRAINED | {"corpora": ["TESS"]})
    assert (len(found.speakers), found.status) == (24, OTHER_CORPUS)
    with pytest.raises(EdgeSerError, match="does not know"):
        choose(TRAINED | {"fold": 99})


def test_emotions_without_a_class_are_left_out() -> None:
    """A clip that no answer could be right for says nothing about a model."""
    without_calm = {"label_of": {e: e for e in SEVEN_FROM_CANONICAL if e != "calm"}}
    assert all(clip.emotion != "calm" for clip in choose(TRAINED | without_calm).clips)
    with pytest.raises(EdgeSerError, match="no recording"):
        choose(TRAINED | {"label_of": {"bored": "neutral"}})


def test_a_limit_draws_the_same_clips_from_all_speakers() -> None:
    """Fewer clips, in order, the same every time, and not one speaker's only."""
    whole, some = choose(TRAINED), choose(TRAINED, limit=20)
    assert some == choose(TRAINED, limit=20)
    assert len(some.clips) == 20
    assert [clip for clip in whole.clips if clip in some.clips] == list(some.clips)
    assert some.speakers == TEST_ACTORS
    assert some.n_available == len(whole.clips)


def certainly(labels: Sequence[int]) -> list[Heard]:
    """Heard without a doubt."""
    one_hot = [tuple(np.eye(7)[label].tolist()) for label in labels]
    return [Heard(probabilities, probabilities) for probabilities in one_hot]


def test_intervals_are_over_speakers() -> None:
    """They hold the estimate, vanish when all speakers are alike, and need two speakers."""
    choice = choose(TRAINED)
    score = score_corpus(choice, certainly(choice.truth))
    assert score.uar_interval == (1.0, 1.0)
    # One speaker is recognised throughout, the others never.
    heard = [
        truth if clip.speaker == TEST_ACTORS[0] else (truth + 1) % 7
        for clip, truth in zip(choice.clips, choice.truth, strict=True)
    ]
    score = score_corpus(choice, certainly(heard))
    assert score.uar == pytest.approx(1 / len(TEST_ACTORS))
    assert score.uar_interval is not None
    low, high = score.uar_interval
    assert low == 0.0  # often nobody draws that speaker
    assert 0.4 <= high <= 0.8
    alone = [clip for clip in choice.clips if clip.speaker == TEST_ACTORS[0]]
    single = replace(choice, clips=tuple(alone), truth=tuple(choice.truth[: len(alone)]))
    assert score_corpus(single, certainly(single.truth)).uar_interval is None


def doubtful(labels: Sequence[int], confidence: float) -> list[Heard]:
    """Heard with this confidence; at temperature 1 there was no doubt at all."""
    shared = (1 - confidence) / 6
    return [
        Heard(tuple(confidence if i == label else shared for i in range(7)), sure.probabilities)
        for label, sure in zip(labels, certainly(labels), strict=True)
    ]


def test_certainty_is_of_all_corpora_together() -> None:
    """It is no mean over corpora: recordings count, wherever they are from, under the one
    temperature and threshold that a model has."""
    choice = choose(TRAINED)
    n = len(choice.clips)
    wrong = [(truth + 1) % 7 for truth in choice.truth]
    heard = [doubtful(choice.truth, 0.75), doubtful(wrong, 0.75)]
    alone = [score_corpus(choice, one).calibration_error for one in heard]
    assert alone == pytest.approx([0.25, 0.75])
    both = certainty_of_all([choice, choice], heard)
    assert both.calibration_error == pytest.approx(0.25)  # 0.75 sure, half of them right
    assert both.uncalibrated_error == pytest.approx(0.5)
    # With a wrong corpus that is less sure, what is rejected is its recordings alone.
    both = certainty_of_all([choice, choice], [heard[0], doubtful(wrong, 0.5)])
    kept = round(0.7 * 2 * n)
    assert both.rejection_gain_points == pytest.approx(100 * (n / kept - 0.5))


# --- the command -------------------------------------------------------------------------


def edge_ser(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_ser", "bench", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, cwd=cwd
    )


def one_sentence(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Exit code 2; the last line on standard error says these things; no traceback."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("edge-ser: ")
    for part in parts:
        assert part in line


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small files that say nothing of parameters, precision or training."""
    folder = tmp_path_factory.mktemp("tiny")
    write_onnx(folder / "tiny.onnx", tiny_contract())
    write_tflite(folder / "tiny.tflite", tiny_contract())
    return folder


def test_json_on_standard_output_is_the_file(tiny: Path, tmp_path: Path) -> None:
    """Without a corpus: sizes and speed, and a line that says what is missing."""
    done = edge_ser(tiny, "--json", "--runs", "3", "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / "out" / "bench.json").read_text()
    rows = json.loads(done.stdout)["rows"]
    assert [row["file"] for row in rows] == ["tiny.onnx", "tiny.tflite"]
    assert all(row["scores"] == [] for row in rows)
    assert "no accuracy" in done.stderr
    assert "No accuracy" in (tmp_path / "out" / "bench.md").read_text()


def test_tables_on_standard_output(models: Path, corpora: Path, tmp_path: Path) -> None:
    """A person sees each file's bytes and UAR, of just the engine asked for."""
    options = ("--data", corpora, "--corpus", "RAVDESS", "--runs", "3", "--limit", "10")
    done = edge_ser(models, *options, "--engine", "onnxruntime", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / "bench" / "bench.json").read_text())
    assert {row["engine"] for row in data["rows"]} == {"onnxruntime"}
    assert data["left_out"] == ["bench-me.float32.tflite", "bench-me.int8.tflite"]
    written = (tmp_path / "bench" / "bench.md").read_text()
    assert len(PICTURES.findall(written)) == 3
    assert done.stdout == PICTURES.sub("", written)
    for row in data["rows"]:
        assert f"{row['n_bytes']:,}" in done.stdout
        assert row["scores"][0]["clips"] == 10
    assert "Left out" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["missing.onnx"], ["missing.onnx", "No such file"]),
        (["notes.txt"], ["notes.txt", "TFLite or ONNX"]),
        (["nothing"], ["nothing", "no .onnx or .tflite file"]),
        (["tiny.onnx", "--engine", "abacus"], ["'abacus'", "onnxruntime"]),
        (["tiny.onnx", "--engine", "litert"], ["litert reads none of tiny.onnx"]),
        (["tiny.onnx", "--corpus", "CREMA", "--data", "."], ["'CREMA'", "RAVDESS"]),
        (["tiny.onnx", "--corpus", "TESS", "--data", "."], ["no folder TESS"]),
        (["tiny.onnx", "--corpus", "TESS", "--data", "gone"], ["gone", "--data"]),
        (["tiny.onnx", "--fold", "1"], ["--corpus"]),
        (["tiny.onnx", "-o", "notes.txt/out"], ["cannot write", "notes.txt"]),
    ],
)
def test_wrong_requests_end_in_a_sentence(
    tiny: Path, tmp_path: Path, arguments: list[str], parts: list[str]
) -> None:
    (tmp_path / "tiny.onnx").write_bytes((tiny / "tiny.onnx").read_bytes())
    (tmp_path / "notes.txt").write_text("no model\n")
    (tmp_path / "nothing").mkdir()
    one_sentence(edge_ser(*arguments, cwd=tmp_path), *parts)


def test_seen_speakers_at_the_command_line(models: Path, corpora: Path, tmp_path: Path) -> None:
    """Fold 5 tests actor 01, who trained this model: refused, or marked in every report."""
    options = (models / "bench-me.int8.onnx", "--data", corpora, "--corpus", "RAVDESS")
    one_sentence(edge_ser(*options, "--fold", "5", cwd=tmp_path), "fold 5", "--allow-seen")
    done = edge_ser(*options, "--fold", "5", "--allow-seen", "--runs", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "NOT speaker-disjoint" in (tmp_path / "bench" / "bench.md").read_text()
    (row,) = json.loads((tmp_path / "bench" / "bench.json").read_text())["rows"]
    assert row["scores"][0]["status"] == SEEN


def test_a_real_recording_is_heard_as_the_recogniser_hears_it(
    models: Path, corpora_dir: Path
) -> None:
    """On speech, too, a file among others recognises what it recognises alone."""
    clips = [c for c in load_corpus(corpora_dir, "RAVDESS") if c.speaker in TEST_ACTORS][:3]
    names = ("bench-me.float32.onnx", "bench-me.int8.tflite")
    files = tuple((models / name, EmotionRecognizer(models / name).engine.name) for name in names)
    heard = recognise(files, [[clip.path for clip in clips]] * 2)
    for (path, _), found in zip(files, heard, strict=True):
        labels = read_contract(path).labels
        assert [labels[one.label] for one in found] == heard_alone(path, clips)
