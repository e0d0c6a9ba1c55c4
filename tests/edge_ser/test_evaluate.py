"""`edge-ser evaluate`: every recording's probabilities, resumable, over processes and clusters."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_evaluation import OPTIONS, SETTINGS, heard, place_of, unit_of, write_subesco
from tone_corpus import write_tone_corpus

from convert.checkpoint import read_checkpoint
from edge_ser.corpora import find_corpus, load_corpus
from edge_ser.evaluation import spread
from edge_ser.evaluation.outcome import (
    FLOAT32,
    INT8,
    POST_TRAINING,
    STEPS,
    Heard,
    Outcome,
    from_json,
    outcome_path,
    read_outcome,
    to_json,
)
from edge_ser.evaluation.protocols import keys_of
from edge_ser.evaluation.report import LEAKS, to_markdown
from edge_ser.evaluation.run import RUNS, TEACHERS, run_unit
from edge_ser.evaluation.spread import run_all
from edge_ser.evaluation.summary import group, summarise
from edge_ser.evaluation.units import Settings, Unit, joined
from edge_ser.folds import get_fold, split
from edge_ser.recipe import make_recipe
from edge_ser.train import PRETRAINED, train
from edge_ser.trainer import LOG_FILE
from firmware_host.contract import MAX_LABEL_LENGTH, read_contract
from firmware_host.errors import EdgeSerError
from firmware_host.probabilities import softmax
from firmware_host.recognizer import EmotionRecognizer

PATIENCE_SECONDS = 120  # of a test that waits for a subprocess; only a hang reaches it
MOST_BYTES = 150_000  # of an outcome, which is published


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_subesco(write_tone_corpus(tmp_path_factory.mktemp("corpora")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def outcomes(data: Path, folder: Path) -> dict[str, Outcome]:
    """A fold of three protocols, that of speaker also quantised after training."""
    units = [unit_of("speaker", post_training=True), unit_of("random")]
    units.append(unit_of("paper", "SUBESCO"))
    done = run_all(units, place_of(folder, data))
    return {outcome.unit.key.protocol: outcome for outcome in done}


def edge_ser(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_ser", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )


def test_every_test_recording_is_heard_as_users_hear_it(
    outcomes: dict[str, Outcome], data: Path, folder: Path
) -> None:
    """The stored probabilities and labels are the recogniser's own, file by file."""
    outcome = outcomes["speaker"]
    test = split(load_corpus(data, "RAVDESS"), get_fold("RAVDESS", 1)).test
    assert outcome.names == tuple(clip.path.stem for clip in test)
    assert outcome.speakers == tuple(clip.speaker for clip in test)
    assert [outcome.labels[n] for n in outcome.truth] == [clip.emotion for clip in test]
    assert set(outcome.heard) == {FLOAT32, INT8, POST_TRAINING}
    models = folder / "work" / RUNS / outcome.unit.slug / "models"
    for variant, one in outcome.heard.items():
        recognizer = EmotionRecognizer(models / str(one.file["name"]))
        for number in (0, 7):
            said = recognizer.recognize_file(test[number].path)
            expected = [said.probabilities[label] for label in outcome.labels]
            np.testing.assert_allclose(one.probabilities[number], expected, atol=1e-4)
            assert outcome.labels[one.labels[number]] == max(
                said.probabilities, key=lambda label: said.probabilities[label]
            )
        assert one.probabilities.shape == one.untempered.shape == (len(test), 3)
        assert (variant == FLOAT32) == (one.file["method"] is None)
    assert "training" in str(outcome.heard[POST_TRAINING].file["method"])


def test_its_training_is_that_of_edge_ser_train(
    outcomes: dict[str, Outcome], data: Path, folder: Path, tmp_path: Path
) -> None:
    """Kept features and a protocol around it change no bit of what is learned."""
    recipe = make_recipe(("RAVDESS",), data, 1, "tiny")
    model, dropout = recipe.config.model, recipe.config.dropout
    config = replace(SETTINGS.config(3, 0), model=model, dropout=dropout)
    (path,) = train(recipe.split, recipe.heads, config, tmp_path, "plain", recipe.facts)
    slug = outcomes["speaker"].unit.slug
    ours = read_checkpoint(folder / "work" / RUNS / slug / f"{slug}.safetensors")
    theirs = read_checkpoint(path)
    for name in ("float_tensors", "qat_tensors"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert set(mine) == set(other)
        assert all(np.array_equal(mine[key], other[key]) for key in mine)
    assert ours.training["fold"] == 1 and ours.training["protocol"] == "speaker"
    assert ours.training["test_speakers"] == theirs.training["test_speakers"]


def test_folds_of_a_corpus_start_from_the_same_pretrained_networks(
    tmp_path: Path, data: Path
) -> None:
    """Which are trained once, on all of the other corpus, and which no test recording knows of."""
    keys = keys_of("speaker", ("RAVDESS",), folds=(1, 2), pretrain=("RAVDESS", "SUBESCO"))
    taught = replace(SETTINGS, pretraining_epochs=2, teachers=1, teacher_size="tiny")
    place = place_of(tmp_path, data)
    done = run_all([Unit(key, 0, taught) for key in keys], place, jobs=2)
    pretrained = tmp_path / "work" / PRETRAINED
    networks = [path for path in pretrained.iterdir() if path.is_dir()]
    assert len(networks) == 2  # the teacher's and the model's, which differ in their seeds
    for network in networks:
        log = (network / LOG_FILE).read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in log] == [1, 2]
    for outcome in done:
        first = outcome.division["speakers"]["pretraining"]
        assert first == {"SUBESCO": sorted(find_corpus("SUBESCO").speakers)}
        assert outcome.division["clips"]["pretraining"] == 40
        slug = outcome.unit.slug
        path = tmp_path / "work" / RUNS / slug / f"{slug}.safetensors"
        assert read_checkpoint(path).training["pretrained_on"] == ["SUBESCO"]
        assert set(read_checkpoint(path).training["terms"]) == {"RAVDESS", "SUBESCO"}
    # So do those whose weights decay faster afterwards.
    run_unit(Unit(keys[0], 0, replace(taught, weight_decay=1.0)), place)
    assert {path for path in pretrained.iterdir() if path.is_dir()} == set(networks)
    summary = summarise(done)
    assert summary.pretrain_on == ("SUBESCO",) and "| SUBESCO first |" in to_markdown([summary])


def test_sizes_share_their_teachers(tmp_path: Path, data: Path) -> None:
    """Which are trained once; with other settings they are refused."""
    place = place_of(tmp_path, data)
    units = [
        unit_of("speaker", size=size, teachers=1, teacher_size="tiny") for size in ("tiny", "small")
    ]
    one, other = run_all(units, place)
    (teachers,) = (tmp_path / "work" / TEACHERS).iterdir()
    assert teachers.name == one.unit.teachers_slug == other.unit.teachers_slug
    log = (teachers / "teacher-1" / LOG_FILE).read_text().splitlines()
    assert len(log) == SETTINGS.epochs
    judged = [dict(outcome.training["validation_uar"]) for outcome in (one, other)]
    assert judged[0] == judged[1] and set(judged[0]) == {"teacher 1"}
    assert one.training["parameters"] < other.training["parameters"]
    assert one.seconds["training"] > sum(json.loads(line)["seconds"] for line in log)
    longer = unit_of("speaker", size="base", teachers=1, teacher_size="tiny", learning_rate=1e-3)
    with pytest.raises(EdgeSerError, match="training with other settings"):
        run_all([longer], place)


def test_a_slug_longer_than_a_model_file_has_room_for_is_cut(tmp_path: Path, data: Path) -> None:
    """In the model's name alone; outcome and folder have all of it."""
    kinds = ("log_mel", "mfcc", "rms")
    unit = unit_of("speaker", eca=False, gfb=False, kinds=kinds, teachers=1, teacher_size="small")
    assert len(unit.slug) > MAX_LABEL_LENGTH >= len(unit.model_name)
    assert unit.model_name != replace(unit, seed=1).model_name
    run_unit(unit, place := place_of(tmp_path, data))
    assert outcome_path(place.outcomes, unit).stem == unit.slug
    (model,) = (place.work / RUNS / unit.slug / "models").glob("*.int8.tflite")
    assert read_contract(model).name == unit.model_name


def test_the_paper_protocol_is_labelled_wherever_it_appears(
    outcomes: dict[str, Outcome], folder: Path
) -> None:
    outcome = outcomes["paper"]
    assert outcome.leaks and not outcomes["random"].leaks and not outcomes["speaker"].leaks
    assert any("augmented copies of test" in breach for breach in outcome.breaches)
    assert not outcome.recordings_alone.all() and outcome.recordings_alone.any()
    stored = json.loads(outcome_path(folder / "outcomes", outcome.unit).read_text())
    assert stored["leaks"] is True and stored["breaches"]
    slug = outcome.unit.slug
    trained = read_checkpoint(folder / "work" / RUNS / slug / f"{slug}.safetensors").training
    assert any("augmented copies" in breach for breach in trained["breaches"])
    summary = summarise([outcome])
    assert summary.leaks and summary.variants[INT8].uar_recordings is not None
    for line in to_markdown([summary]).splitlines():
        if line.startswith(("| paper", "## paper")):
            assert LEAKS in line or line.endswith("leaks")
    assert "leaks" not in to_markdown([summarise([outcomes["speaker"]])])
    shared = to_markdown([summarise([outcomes["random"]])])
    assert "heard in training" in shared and "leaks" not in shared


def test_an_outcome_is_small_whole_and_readable(outcomes: dict[str, Outcome], folder: Path) -> None:
    for outcome in outcomes.values():
        path = outcome_path(folder / "outcomes", outcome.unit)
        assert path.stat().st_size < MOST_BYTES
        again = from_json(path.read_text(), path.name)
        assert heard(again) == heard(outcome) and again.unit == outcome.unit
        for one, other in zip(again.heard.values(), outcome.heard.values(), strict=True):
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=5e-4)
            np.testing.assert_allclose(one.untempered, other.untempered, atol=5e-4)
            np.testing.assert_allclose(one.probabilities.sum(axis=1), 1)
        data = json.loads(path.read_text())
        assert {"torch", "numpy", "python", "edge-ser"} <= set(data["machine"]["versions"])
        assert {"commit", "date", "cpu"} <= set(data["machine"])
        assert data["scores"][INT8]["uar"] == outcome.score(INT8).uar
        assert data["seconds"]["all"] >= 0
    with pytest.raises(EdgeSerError, match="no outcome that this edge-ser can read"):
        from_json("{}", "x.json")


def test_the_largest_outcome_there_will_be_is_small_enough(outcomes: dict[str, Outcome]) -> None:
    """TESS under the paper protocol: 2800 recordings and copies, seven labels, two files.

    It comes back as it was, to the step, also where a recording is of several windows.
    """
    random, n, temperature = np.random.default_rng(0), 2800, 1.3
    truth = random.integers(0, 7, n)
    windows = random.normal(0, 1, (2, n, 7)) + 4 * np.eye(7)[truth]
    windows[1, ::2] = windows[0, ::2]  # every other recording has one

    def some(logits: NDArray[np.float64]) -> Heard:
        tempered = np.mean([softmax(one, temperature) for one in logits], axis=0)
        plain = np.mean([softmax(one) for one in logits], axis=0)
        file = outcomes["paper"].heard[INT8].file
        return Heard(tempered, plain, plain.argmax(axis=1), file)

    large = replace(
        outcomes["paper"],
        labels=tuple("abcdefg"),
        names=tuple(f"OAF_word{number}_angry~1" for number in range(n)),
        speakers=("OAF",) * n,
        truth=truth,
        training={**outcomes["paper"].training, "temperature": temperature},
        heard={
            FLOAT32: some(windows),
            INT8: some(windows + random.normal(0, 0.1, windows.shape)),
        },
    )
    text = to_json(large)
    assert len(text) < MOST_BYTES
    for variant, again in from_json(text, "x.json").heard.items():
        for kind in ("probabilities", "untempered"):
            kept, whole = getattr(again, kind), getattr(large.heard[variant], kind)
            np.testing.assert_allclose(kept[:, :-1], whole[:, :-1], atol=1.5 / STEPS)
        np.testing.assert_array_equal(again.labels, large.heard[variant].labels)


def test_what_is_there_is_not_computed_again(
    outcomes: dict[str, Outcome], data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor what is there with more; but other settings under one name are refused."""
    monkeypatch.setattr(spread, "run_unit", None)
    place = place_of(folder, data)
    done = run_all([unit_of("speaker"), unit_of("speaker", post_training=True)], place)
    assert [heard(one) for one in done] == [heard(outcomes["speaker"])]
    with pytest.raises(EdgeSerError, match="other settings"):
        run_all([unit_of("speaker", epochs=2)], place)
    assert read_outcome(place.outcomes, unit_of("random", post_training=True)) is None


def test_killed_and_started_again_it_ends_the_same(data: Path, tmp_path: Path) -> None:
    """SIGKILL within the training; the second start goes on and leaves the same outcome.

    Of SUBESCO in its published layout, so that its command is known to work.
    """
    options = ["--data", data, "--corpus", "SUBESCO", "--fold", 5, *OPTIONS, "--jobs", 1]
    options[options.index("--epochs") + 1] = "6"
    out = tmp_path / "killed"
    unit = unit_of("speaker", "SUBESCO", 5, epochs=6)
    log = out / "work" / RUNS / unit.slug / "log.jsonl"
    command = [sys.executable, "-m", "edge_ser", "evaluate", *map(str, options), "-o", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not log.exists() and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert first.poll() is None
        first.send_signal(signal.SIGKILL)
    assert not list((out / "outcomes").glob("*.json"))
    done = edge_ser("evaluate", *options, "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    epochs = [json.loads(line)["epoch"] for line in log.read_text().splitlines()]
    assert len(epochs) <= 6 + 1 + 1  # at most one of them twice, and that of QAT
    killed = read_outcome(out / "outcomes", unit)
    whole = run_unit(unit, place_of(tmp_path / "whole", data))
    assert killed is not None and heard(killed) == heard(whole)
    (printed,) = json.loads(done.stdout)
    assert printed["protocol"] == "speaker" and printed["folds_there"] == [5]
    assert set(killed.speakers) == {"F02", "M01", "M02", "M10"}
    assert printed["variants"][INT8]["uar"] == killed.score(INT8).uar
    assert (out / "summary.md").read_text().startswith("# Evaluation")


def test_over_processes_and_over_a_cluster_it_is_the_same(
    outcomes: dict[str, Outcome], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at a time here; and Dask on the loopback: a scheduler, and a worker that computes."""
    import distributed

    units = [unit_of("speaker"), unit_of("random")]
    expected = [heard(outcomes["speaker"]), heard(outcomes["random"])]
    expected[0]["variants"].pop(POST_TRAINING)  # type: ignore[attr-defined]
    here = run_all(units, place_of(tmp_path / "here", data), jobs=2)
    assert [heard(outcome) for outcome in here] == expected
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address=None,
    ) as cluster:
        place = place_of(tmp_path / "cluster", None)
        # The worker has the corpora in a place of its own.
        monkeypatch.setenv("EDGE_SER_CORPORA", str(data))
        there = run_all(units[:1], place, scheduler=cluster.scheduler_address)
        monkeypatch.delenv("EDGE_SER_CORPORA")
        with pytest.raises(EdgeSerError, match="no folder of corpora was given"):
            run_all([unit_of("speaker", fold=3)], place, scheduler=cluster.scheduler_address)
    assert [heard(outcome) for outcome in there] == expected[:1]
    assert len(list(place.outcomes.glob("*.json"))) == 1


def test_a_failure_is_told_at_once_and_stops_nothing_else(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Units that share teachers follow each other in one place, also after one that failed."""
    sizes = ("tiny", "small")
    taught = [unit_of("speaker", size=size, teachers=1, teacher_size="tiny") for size in sizes]
    started: list[str] = []

    def in_process(unit: Unit, place: object, children: object) -> Outcome | str:
        started.append(unit.slug)
        return "it rained" if unit.settings.teachers else "it snowed"

    monkeypatch.setattr(spread, "_in_process", in_process)
    told: list[tuple[Unit, str]] = []
    with pytest.raises(EdgeSerError, match="it rained"):
        run_all(
            [*taught, unit_of("random")],
            place_of(tmp_path, data),
            jobs=3,
            on_failed=lambda unit, sentence: told.append((unit, sentence)),
        )
    assert {unit.slug for unit, _ in told} == {*started} and len(told) == 3
    assert started.index(taught[0].slug) < started.index(taught[1].slug)


def test_without_a_scheduler_there_one_sentence_says_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "CONNECT_SECONDS", 0.5)
    with pytest.raises(EdgeSerError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        run_all([unit_of("speaker")], place_of(tmp_path, data), scheduler="tcp://127.0.0.1:9")


def test_a_process_ends_when_nobody_waits_for_it(data: Path, tmp_path: Path) -> None:
    """Else it would hold the training's folder against the next start."""
    unit = unit_of("speaker", epochs=5000)
    place = place_of(tmp_path, data)
    task = {
        "unit": unit.to_dict(),
        "place": {
            "outcomes": str(place.outcomes),
            "work": str(place.work),
            "data": str(data),
            "device": "cpu",
        },
    }
    command = [sys.executable, "-m", "edge_ser.evaluation.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(task) + "\n")
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) != 0


def test_seeds_and_folds_are_summed_up(outcomes: dict[str, Outcome]) -> None:
    """The headline is the mean over folds, then over seeds; seeds that lack a fold stay out."""
    base = outcomes["speaker"]
    random = np.random.default_rng(0)

    def made(fold: int, seed: int, share: float) -> Outcome:
        truth = np.tile([0, 1, 2], 20)
        labels = np.where(random.random(60) < share, truth, (truth + 1) % 3)
        sure, modest = ((1 - low) * np.eye(3)[labels] + low / 3 for low in (0.0, 0.9))
        one = replace(base.heard[INT8], labels=labels, probabilities=sure, untempered=modest)
        speakers = tuple(f"{fold}{number}" for number in np.repeat(range(5), 12))
        names = tuple(f"{fold}-{number}" for number in range(60))
        return replace(
            base,
            unit=Unit(replace(base.unit.key, index=fold), seed, base.unit.settings),
            names=names,
            speakers=speakers,
            truth=truth,
            heard={FLOAT32: one, INT8: one},
        )

    grid = [made(fold, seed, 0.4 + 0.2 * fold) for seed in (0, 1) for fold in (1, 2)]
    summary = summarise([*grid, made(1, 2, 0.0)])
    assert summary.seeds == (0, 1) and summary.folds_there == (1, 2) and summary.folds == 5
    int8 = summary.variants[INT8]
    uars = [[grid[2 * seed + fold].score(INT8).uar for fold in (0, 1)] for seed in (0, 1)]
    assert int8.uar == pytest.approx(np.mean(uars))
    assert int8.uar_of_folds == pytest.approx(np.mean(uars, axis=0))
    assert int8.uar_of_seeds == pytest.approx(np.mean(uars, axis=1))
    assert np.sum(int8.confusion) == 240
    assert int8.uar_interval is not None
    assert int8.uar_interval[0] < int8.uar < int8.uar_interval[1]
    assert int8.uar_points == 0 and int8.uar_points_interval == (0, 0) and int8.same_label == 1
    assert int8.sign_test is not None and (int8.sign_test.p_value, int8.sign_test.n) == (1, 10)
    assert "(+0.0 to +0.0; permutation test over 10 speakers: p 1.000)" in to_markdown([summary])
    # All that is sure of itself is wrong as often as it is wrong, whatever fold it comes from.
    assert int8.certainty.calibration_error == pytest.approx(1 - int8.accuracy)
    assert int8.certainty.overconfidence == pytest.approx(1 - int8.accuracy)
    assert int8.certainty.uncalibrated_error == pytest.approx(int8.accuracy - 0.4)
    assert [point.clips for point in int8.certainty.coverage][:3] == [240, 216, 192]

    def worse(one: Outcome) -> Outcome:
        """The same, and INT8 wrong about a recording of each speaker that it had right."""
        labels = one.heard[INT8].labels.copy()
        right = np.flatnonzero(labels == one.truth)
        first = [next(n for n in right if one.speakers[n] == who) for who in set(one.speakers)]
        labels[first] = (one.truth[first] + 1) % 3
        return replace(one, heard={**one.heard, INT8: replace(one.heard[INT8], labels=labels)})

    loses = summarise([worse(one) for one in grid]).variants[INT8]
    assert loses.uar_points == pytest.approx(100 * (loses.uar - int8.uar))
    assert loses.uar_points is not None and loses.uar_points_interval is not None
    assert loses.uar_points_interval[0] <= loses.uar_points <= loses.uar_points_interval[1] < 0
    assert loses.sign_test is not None and loses.sign_test.p_value == 2 / 2**10  # all to one side
    # Another seed is no other speaker: the same once more makes nothing surer.
    once = [made(fold, 0, 0.5) for fold in (1, 2)]
    again = [replace(o, unit=Unit(o.unit.key, 1, o.unit.settings)) for o in once]
    of_one, of_two = (summarise(seeds).variants[INT8] for seeds in (once, [*once, *again]))
    assert of_two.uar_interval == pytest.approx(of_one.uar_interval)
    with pytest.raises(EdgeSerError, match="2 evaluations"):
        summarise([outcomes["random"], outcomes["paper"]])
    assert len(group([*grid, outcomes["random"]])) == 2


def test_settings_of_one_name_may_not_contradict() -> None:
    unit = unit_of("speaker")
    more = unit_of("speaker", post_training=True)
    assert joined([unit, more, unit]) == (more,)
    with pytest.raises(EdgeSerError, match="asked for twice"):
        joined([unit, unit_of("speaker", epochs=3)])
    assert Unit.from_dict(json.loads(json.dumps(more.to_dict()))) == more
    with pytest.raises(EdgeSerError, match="--post-training"):
        Settings(qat_epochs=0)
    with pytest.raises(EdgeSerError, match="no setting 'depth'"):
        Settings.from_dict({"depth": 3})
    slugs = {Unit(key).slug for key in keys_of("cross", ("TESS", "EmoDB", "RAVDESS"))}
    assert len(slugs) == 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--protocol", "nested", "--corpus", "RAVDESS"], "nested"),
        (["--corpus", "EmoDB"], "EmoDB"),  # not in the folder
        (["--corpus", "RAVDESS", "--features", "mfcc,chroma"], "kinds"),
    ],
)
def test_wrong_input_gets_one_sentence(
    data: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    done = edge_ser("evaluate", "--data", data, "-o", tmp_path, *options)
    assert done.returncode == 2
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
