"""`edge-ser corpora verify`: finds what is wrong, and tells the known from the unexpected."""

import json
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from edge_ser.cli import app
from edge_ser.corpora import find_corpus
from edge_ser.corpora.verify import CorpusReport, Finding, verify


def noise(seed: int, n: int = 800) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=n)


@pytest.fixture
def tess(tmp_path: Path) -> Path:
    """Five words of TESS, complete and sound: 70 recordings."""
    grid = product(
        ("OAF", "YAF"),
        ("bar", "beg", "germ", "home", "neat"),
        ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad"),
    )
    for seed, (speaker, word, code) in enumerate(grid):
        path = tmp_path / f"TESS/{speaker}_{code}/{speaker}_{word}_{code}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(seed), 24_414, subtype="PCM_16")
    return tmp_path


def findings(data: Path, kind: str) -> list[Finding]:
    (report,) = verify(data, [find_corpus("TESS")])
    return [finding for finding in report.findings if finding.kind == kind]


def test_real_corpora_have_their_published_figures_and_only_known_defects(
    corpora_dir: Path,
) -> None:
    """Protects the figures that we publish: files, speakers, labels, and each known defect."""
    steps: list[tuple[int, int]] = []
    reports = verify(corpora_dir, progress=lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1] == len(steps)
    whole = {report.corpus: report for report in reports if not report.originals}
    raw = {report.corpus: report for report in reports if report.originals}
    assert {name: report.files for name, report in whole.items()} == {
        "EmoDB": (535, 535),
        "RAVDESS": (1440, 1440),
        "TESS": (2798, 2800),
        "BanglaSER": (1466, 1467),
    }
    assert all(report.speakers[0] == report.speakers[1] for report in whole.values())
    off = {
        (name, label): counts
        for name, report in whole.items()
        for label, counts in report.labels.items()
        if counts[0] != counts[1]
    }
    assert off == {
        ("TESS", "angry"): (399, 400),
        ("TESS", "sad"): (399, 400),
        ("BanglaSER", "neutral"): (242, 243),
    }
    assert all(report.ok for report in reports)

    def defects(report: CorpusReport) -> set[tuple[str, tuple[str, ...]]]:
        return {(f.kind, tuple(Path(name).stem for name in f.files)) for f in report.findings}

    assert defects(whole["EmoDB"]) == set()
    assert defects(whole["RAVDESS"]) == {
        ("duplicate", ("03-01-03-01-02-01-07", "03-01-03-01-02-02-07"))
    }
    assert defects(whole["TESS"]) == {
        ("misnamed", ("OA_bite_neutral",)),
        ("missing", ("OAF_back_angry", "YAF_beg_sad")),
    }
    assert defects(whole["BanglaSER"]) == {
        ("duplicate", ("03-01-01-01-01-01-17", "03-01-01-01-01-03-17")),
        ("duplicate", ("03-01-01-01-03-01-15", "03-01-01-01-03-03-15")),
        ("misnamed", ("01-01-04-02-03-01-15",)),
        ("misnamed", ("01-01-04-02-03-02-15",)),
        ("misnamed", ("01-01-04-02-03-03-15",)),
        ("missing", ("03-01-05-01-01-03-19",)),
    }
    assert defects(raw["TESS"]) == {
        ("format", ("YAF_germ_angry",)),
        ("format", ("YAF_neat_fear",)),
    }


def test_a_sound_corpus_has_no_finding_but_its_count(tess: Path) -> None:
    """Protects against false alarms: only the words that are not there are reported."""
    (report,) = verify(tess, [find_corpus("TESS")])
    assert report.files == (70, 2800)
    assert {finding.kind for finding in report.findings} == {"count"}
    assert not report.ok


def test_the_same_samples_in_another_container_are_a_duplicate(tess: Path) -> None:
    """Protects the search for duplicates: it hears samples, not bytes of files."""
    path = tess / "TESS/OAF_sad/OAF_bar_sad.wav"
    samples, rate = soundfile.read(path, dtype="int16")
    twin = tess / "TESS/OAF_sad/OAF_home_sad.flac"
    twin.with_suffix(".wav").unlink()
    soundfile.write(twin, samples, rate)
    (found,) = findings(tess, "duplicate")
    assert not found.known
    assert found.files == ("OAF_sad/OAF_bar_sad.wav", "OAF_sad/OAF_home_sad.flac")
    samples[100] += 1
    soundfile.write(twin, samples, rate)
    assert not findings(tess, "duplicate")


def test_a_duplicate_under_another_label_says_so(tess: Path) -> None:
    """Protects the labels: one recording under two emotions is worse than a plain copy."""
    shutil.copy(tess / "TESS/OAF_sad/OAF_bar_sad.wav", tess / "TESS/OAF_happy/OAF_bar_happy.wav")
    (found,) = findings(tess, "duplicate")
    assert "different labels" in found.message


@pytest.mark.parametrize("damage", ["empty", "text", "cut short", "no samples"])
def test_damaged_files_are_named(tess: Path, damage: str) -> None:
    """Protects against files that a broken transfer left behind."""
    path = tess / "TESS/YAF_fear/YAF_bar_fear.wav"
    whole = path.read_bytes()
    if damage == "no samples":
        soundfile.write(path, np.zeros(0), 24_414, subtype="PCM_16")
    else:
        data = {"empty": b"", "text": b"<html>not found</html>", "cut short": whole[:-600]}
        path.write_bytes(data[damage])
    (found,) = findings(tess, "unreadable")
    assert not found.known
    assert found.files == ("YAF_fear/YAF_bar_fear.wav",)


def test_aiff_named_wav_is_known_for_two_files_and_unexpected_for_others(tess: Path) -> None:
    """Protects the line between a publisher's defect and somebody else's."""
    for name in ("YAF_fear/YAF_neat_fear.wav", "YAF_fear/YAF_home_fear.wav"):
        soundfile.write(tess / "TESS" / name, noise(1000), 24_414, format="AIFF")
    found = {Path(f.files[0]).stem: f.known for f in findings(tess, "format")}
    assert found == {"YAF_neat_fear": True, "YAF_home_fear": False}


def test_missing_misnamed_and_unknown_names(tess: Path) -> None:
    """Protects the list of what is wrong with names: known and unexpected, each by name."""
    folder = tess / "TESS"
    (folder / "YAF_sad/YAF_beg_sad.wav").unlink()  # known to be missing from copies
    (folder / "YAF_sad/YAF_bar_sad.wav").unlink()
    (folder / "OAF_sad/OAF_bar_sad.wav").rename(folder / "OAF_sad/OA_bar_sad.wav")
    (folder / "OAF_sad/OAF_beg_sad.wav").rename(folder / "OAF_sad/OAF_beg_grumpy.wav")
    missing = {finding.files: finding.known for finding in findings(tess, "missing")}
    assert missing == {("YAF_beg_sad",): True, ("OAF_beg_sad", "YAF_bar_sad"): False}
    (misnamed,) = findings(tess, "misnamed")
    assert misnamed.files == ("OAF_sad/OA_bar_sad.wav",)
    assert not misnamed.known
    (unknown,) = findings(tess, "unknown name")
    assert unknown.files == ("OAF_sad/OAF_beg_grumpy.wav",)


def test_two_recordings_under_one_name_are_a_conflict_and_equal_ones_are_not(tess: Path) -> None:
    """Protects against a doubled folder whose halves differ."""
    double = tess / "TESS/again"
    double.mkdir()
    shutil.copy(tess / "TESS/OAF_sad/OAF_bar_sad.wav", double)
    assert not findings(tess, "conflict")
    soundfile.write(double / "OAF_bar_sad.wav", noise(5000), 24_414)
    (found,) = findings(tess, "conflict")
    assert len(found.files) == 2


def test_command_line_says_known_or_unexpected_and_its_exit_code(tess: Path) -> None:
    """Protects programs that read --json and exit codes, and the person who reads the text."""
    (tess / "TESS/OAF_sad/OAF_bar_sad.wav").write_bytes(b"")
    (tess / "TESS/OAF_neutral/OAF_home_neutral.wav").rename(
        tess / "TESS/OAF_neutral/OA_bite_neutral.wav"
    )
    runner = CliRunner()
    text = runner.invoke(app, ["corpora", "verify", "tess", "--data", str(tess)])
    assert text.exit_code == 1
    assert "known defect: misnamed: OAF_neutral/OA_bite_neutral.wav" in text.stdout
    assert "unexpected: unreadable: OAF_sad/OAF_bar_sad.wav" in text.stdout
    as_json = runner.invoke(app, ["corpora", "verify", "--json", "--data", str(tess)])
    (report,) = json.loads(as_json.stdout)
    assert report["files"] == {"found": 70, "published": 2800}
    assert not report["ok"]


def test_list_shows_what_is_here(tess: Path) -> None:
    """Protects `edge-ser corpora list`: every corpus with its terms, and whether it is here."""
    result = CliRunner().invoke(app, ["corpora", "list", "--json", "--data", str(tess)])
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert set(rows) == {"TESS", "RAVDESS", "BanglaSER", "SUBESCO", "EmoDB"}
    assert rows["TESS"]["folder"] == str(tess / "TESS")
    assert rows["SUBESCO"]["folder"] is None
    assert all(row["terms"] and row["citation"] and row["home_page"] for row in rows.values())
