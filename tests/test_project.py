"""What the project promises as a whole: what the wheel holds, what an import costs, what the
tree may not name."""

import csv
import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from firmware_host.recognizer import BOXED_ONNX, BOXED_TFLITE

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("edge_ser", "convert", "firmware_host")
DATA = ("edge_ser/assets", "firmware_host/models")
MAX_FILE_BYTES = 3_000_000
AUDIO = {".wav", ".flac", ".mp3", ".ogg", ".aif", ".aiff"}
OWN_AUDIO = "edge_ser/assets/"
# As RAVDESS and BanglaSER, TESS, Emo-DB, SUBESCO name their recordings.
CORPUS_NAMES = re.compile(
    r"0[13]-0\d-0\d-0\d-0\d-0\d-\d\d|(OAF?|YAF)_\w+_[a-z]+|\d\d[ab]\d\d[WLEAFTN][a-f]"
    r"|[FM]_\d\d_[A-Z]+_S_\d+_[A-Z]+_\d",
    re.IGNORECASE,
)
# None of these may be needed for listening, or for a command's --help.
HEAVY = {"torch", "onnx", "onnxruntime", "tensorflow", "scipy", "librosa", "matplotlib"}
PYPROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def tree(need: Callable[[str], None]) -> list[str]:
    """Every file that is, or is about to be, part of the project; paths from its root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        need("this is no git checkout: which files belong to the project is not known")
    names = sorted({name for name in listed.stdout.split("\0") if name})
    return [name for name in names if (REPOSITORY / name).is_file()]


@pytest.fixture(scope="module")
def texts(tree: list[str]) -> dict[str, str]:
    """What stands in each file that is text."""
    found = {}
    for name in tree:
        data = (REPOSITORY / name).read_bytes()
        if b"\0" not in data[:4096]:
            found[name] = data.decode("utf-8")
    return found


@pytest.fixture(scope="module")
def wheel(tree: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the wheel holds, built from the project's files and nothing else that lies about."""
    source = tmp_path_factory.mktemp("source")
    for name in tree:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((REPOSITORY / name).read_bytes())
    output = run_python("-m", "build", "--wheel", "--no-isolation", "--outdir", "out", cwd=source)
    (path,) = (source / "out").glob("*.whl")
    assert f"-{PYPROJECT['project']['version']}-" in path.name, output
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_packages_and_their_data(wheel: list[str], tree: list[str]) -> None:
    """A device gets the model and the demo's clip; an IDE gets the types."""
    expected = {
        name
        for name in tree
        if name.startswith(tuple(f"{folder}/" for folder in PACKAGES)) and name.endswith(".py")
    }
    expected |= {name for name in tree if name.startswith(tuple(f"{folder}/" for folder in DATA))}
    expected |= {f"{package}/py.typed" for package in PACKAGES}
    expected.add("firmware_host/event.schema.json")
    packed = {name for name in wheel if ".dist-info/" not in name}
    assert packed == expected


def test_the_wheel_holds_the_model(wheel: list[str], need: Callable[[str], None]) -> None:
    for model in (BOXED_TFLITE, BOXED_ONNX):
        if not model.is_file():
            need(f"{model.name} is not in the package")
        assert model.relative_to(REPOSITORY).as_posix() in wheel


def test_the_wheel_names_its_licence(wheel: list[str]) -> None:
    assert [name for name in wheel if name.endswith("/licenses/LICENSE")]


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        (
            "the host of a package registry",
            r"\b(pypi\.org|pythonhosted\.org|npmjs\.org|(deb|security)\.debian\.org"
            r"|download\.pytorch\.org)",
        ),
        ("a path of one machine", r"(?<![\w.}~-])/(root|work|home/\w+|Users/\w+)/"),
        ("unfinished work", r"\b(TO[D]O|FIX[M]E|XX[X]|raise NotImplemented[E]rror)\b|\.x[f]ail\b"),
    ],
)
def test_no_file_names(what: str, pattern: str, texts: dict[str, str]) -> None:
    """What would bind the project to one machine, or promises what is not there."""
    found = [
        f"{name}: {line.strip()[:120]}"
        for name, text in texts.items()
        for line in text.splitlines()
        if re.search(pattern, line)
    ]
    assert not found, f"{what} stands in these lines"


def test_no_file_is_large(tree: list[str]) -> None:
    """A clone stays small; corpora and runs are no part of it."""
    sizes = {name: (REPOSITORY / name).stat().st_size for name in tree}
    assert not {name: size for name, size in sizes.items() if size > MAX_FILE_BYTES}


def test_no_recording_of_a_corpus_is_here(tree: list[str]) -> None:
    """The corpora's terms forbid passing them on."""
    audio = [name for name in tree if Path(name).suffix.lower() in AUDIO]
    assert not [name for name in audio if not name.startswith(OWN_AUDIO)]
    assert not [name for name in tree if CORPUS_NAMES.fullmatch(Path(name).stem)]


def test_no_recording_of_a_corpus_is_here_under_another_name(
    tree: list[str], corpora_dir: Path
) -> None:
    """Judged by the checksums of the publishers' files, and by the files that are there."""
    known = {
        row["original_sha256"]
        for manifest in corpora_dir.glob("*.csv")
        for row in csv.DictReader(manifest.open(encoding="utf-8", newline=""))
    }
    ours = [REPOSITORY / name for name in tree if Path(name).suffix.lower() in AUDIO]
    sizes = {path.stat().st_size for path in ours}
    known |= {
        sha256(path)
        for path in corpora_dir.rglob("*")
        if path.is_file() and path.stat().st_size in sizes
    }
    assert known
    assert not [path for path in ours if sha256(path) in known]


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("firmware_host", HEAVY | {"convert", "edge_ser", "typer", "rich"}),
        ("convert", {"torch", "tensorflow", "librosa", "edge_ser"}),
    ],
)
def test_importing_a_floor_brings_in_nothing_from_above(package: str, forbidden: set[str]) -> None:
    """Every module of it, in a Python that has all the forbidden ones installed."""
    script = f"""
import importlib, json, pkgutil, sys
import {package}
names = [m.name for m in pkgutil.walk_packages({package}.__path__, "{package}.")]
for name in names:
    importlib.import_module(name)
print(json.dumps([names, sorted({{name.partition(".")[0] for name in sys.modules}})]))
"""
    names, loaded = json.loads(run_python("-c", script))
    assert len(names) > 3
    assert not forbidden & set(loaded)


def test_help_of_every_command_is_light() -> None:
    """Each answers with its usage and exit code 0, and loads nothing that makes one wait."""
    script = """
import contextlib, io, json, sys
import typer
from edge_ser.cli import app

def walk(command, path):
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from walk(child, [*path, name])

results = {}
root = typer.main.get_command(app)
for path in walk(root, []):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        try:
            code = root.main([*path, "--help"], prog_name="edge-ser", standalone_mode=True)
        except SystemExit as end:
            code = end.code
    heavy = {name.partition(".")[0] for name in sys.modules}
    results[" ".join(path)] = [code, text.getvalue(), sorted(heavy)]
print(json.dumps(results))
"""
    results = json.loads(run_python("-c", script))
    assert {"", "recognize", "listen"} <= set(results)
    for command, (code, text, loaded) in results.items():
        assert code in (0, None), command
        assert f"edge-ser {command}".strip() in text
        assert not HEAVY & set(loaded), command


def test_the_program_is_installed() -> None:
    program = Path(sys.executable).parent / "edge-ser"
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "recognize" in done.stdout
    assert "recognize" in run_python("-m", "edge_ser", "--help")


def test_versions_agree() -> None:
    """The installed version is the written one; every tool checks for the oldest Python."""
    assert importlib.metadata.version("edge-ser") == PYPROJECT["project"]["version"]
    oldest = PYPROJECT["project"]["requires-python"].removeprefix(">=")
    assert PYPROJECT["tool"]["mypy"]["python_version"] == oldest
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py" + oldest.replace(".", "")
    makefile = (REPOSITORY / "Makefile").read_text()
    assert f"CONSTRAINTS_PYTHON := {oldest}\n" in makefile


def test_constraints_hold_every_requirement() -> None:
    """constraints.txt was made after the last change of what edge-ser requires."""
    pins = {}
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            (version,) = pin.specifier
            assert version.operator == "==", line
            pins[canonicalize_name(pin.name)] = version.version
    project = PYPROJECT["project"]
    wanted = sum(project["optional-dependencies"].values(), list(project["dependencies"]))
    for text in wanted:
        requirement = Requirement(text)
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, text
    assert not [name for name in pins if name.startswith(("nvidia", "cuda", "triton"))]
    assert not [version for version in pins.values() if "+" in version]


def run_python(*arguments: str, cwd: Path | None = None) -> str:
    """Standard output of this Python run with these arguments."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def sha256(path: Path) -> str:
    """Checksum of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
