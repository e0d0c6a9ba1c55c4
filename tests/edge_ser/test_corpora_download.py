"""`edge-ser corpora download` against a real server on loopback: resume, refuse, unpack."""

import hashlib
import io
import json
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from edge_ser.cli import app
from edge_ser.corpora import corpora_root, find_corpus, load_corpus
from edge_ser.corpora.corpus import Archive, Corpus
from edge_ser.corpora.download import ATTEMPTS, download_corpus, fetch, install_archive
from firmware_host.errors import EdgeSerError

URL_PATH = "/download.zip"


class Publisher(ThreadingHTTPServer):
    """Serves one archive. `cuts` are bytes after which the next connections break."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.etag = '"one"'
        self.cuts: list[int] = []
        self.requests: list[str] = []  # the Range of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{URL_PATH}"


class Handler(BaseHTTPRequestHandler):
    server: Publisher

    def do_GET(self) -> None:
        publisher = self.server
        wanted = self.headers.get("Range", "")
        publisher.requests.append(wanted)
        if self.path != URL_PATH:
            self.send_error(404)
            return
        start, total = 0, len(publisher.content)
        if wanted and self.headers.get("If-Range") == publisher.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= total:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        body = publisher.content[start:]
        self.send_header("Content-Length", str(len(body)))
        if publisher.etag:
            self.send_header("ETag", publisher.etag)
        self.end_headers()
        if publisher.cuts:
            body = body[: publisher.cuts.pop(0)]
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    server = Publisher()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.content = archive_of({"wav/03a01Fa.wav": tone(), "wav/16b10Lb.wav": tone()})
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def tone() -> bytes:
    out = io.BytesIO()
    samples = np.random.default_rng(1).normal(scale=0.1, size=8000)  # noise: hardly compresses
    soundfile.write(out, samples, 16_000, format="WAV", subtype="PCM_16")
    return out.getvalue()


def archive_of(members: dict[str, bytes], link: str | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
        if link:
            member = zipfile.ZipInfo(link)
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
            bundle.writestr(member, "/etc/passwd")
    return out.getvalue()


def emodb(publisher: Publisher, md5: str | None = None, size: int | None = None) -> Corpus:
    """Emo-DB as this publisher states it."""
    archive = Archive(url=publisher.url, file_name="download.zip", md5=md5, size=size)
    return replace(find_corpus("EmoDB"), archive=archive)


def test_fetches_checks_and_unpacks(publisher: Publisher, tmp_path: Path) -> None:
    """Protects the plain case: the corpus loads, its source is recorded, nothing else is left."""
    md5 = hashlib.md5(publisher.content, usedforsecurity=False).hexdigest()
    steps: set[str] = set()
    corpus = emodb(publisher, md5, len(publisher.content))
    source = download_corpus(corpus, tmp_path, progress=lambda stage, *_: steps.add(stage))
    assert [clip.emotion for clip in load_corpus(tmp_path, "EmoDB")] == ["happy", "bored"]
    assert source.sha256 == hashlib.sha256(publisher.content).hexdigest()
    assert md5 in source.checksum
    recorded = json.loads((tmp_path / "EmoDB/SOURCE.json").read_text())
    assert recorded["sha256"] == source.sha256
    assert recorded["source"] == publisher.url
    assert steps == {"fetching", "checking", "unpacking"}
    assert [path.name for path in tmp_path.iterdir()] == ["EmoDB"]


def test_a_broken_connection_is_taken_up_where_it_broke(
    publisher: Publisher, tmp_path: Path
) -> None:
    """Protects large transfers: breaks in mid-body cost nothing but the rest."""
    publisher.cuts = [5_000, 7_000]
    download_corpus(emodb(publisher), tmp_path, pause_seconds=0)
    assert publisher.requests == ["", "bytes=5000-", "bytes=12000-"]
    assert len(load_corpus(tmp_path, "EmoDB")) == 2


def test_a_transfer_that_stopped_goes_on_in_the_next_run(
    publisher: Publisher, tmp_path: Path
) -> None:
    """Protects what was received: giving up keeps it, the next call asks only for the rest."""
    publisher.cuts = [6_000] + [0] * ATTEMPTS
    with pytest.raises(EdgeSerError, match="stopped after 6000 bytes"):
        download_corpus(emodb(publisher), tmp_path, pause_seconds=0)
    assert not (tmp_path / "EmoDB").exists()
    publisher.requests.clear()
    download_corpus(emodb(publisher), tmp_path, pause_seconds=0)
    assert publisher.requests == ["bytes=6000-"]
    assert len(load_corpus(tmp_path, "EmoDB")) == 2


def test_a_whole_partial_file_is_not_fetched_again(publisher: Publisher, tmp_path: Path) -> None:
    """Protects an archive that was fetched whole when unpacking was interrupted."""
    partial = tmp_path / "x.partial"
    fetch(publisher.url, partial, pause_seconds=0)
    fetch(publisher.url, partial, pause_seconds=0)
    assert publisher.requests == ["", f"bytes={len(publisher.content)}-"]
    assert partial.read_bytes() == publisher.content


@pytest.mark.parametrize("etag", ['"two"', "", 'W/"weak"'])
def test_an_archive_that_changed_or_cannot_be_compared_is_fetched_anew(
    publisher: Publisher, tmp_path: Path, etag: str
) -> None:
    """Protects against a file sewn together from two archives."""
    partial = tmp_path / "x.partial"
    if etag != '"two"':
        publisher.etag = etag
    publisher.cuts = [5_000] + [0] * ATTEMPTS
    with pytest.raises(EdgeSerError):
        fetch(publisher.url, partial, pause_seconds=0)
    publisher.content = archive_of({"wav/08a01Fd.wav": tone(), "notes.txt": b"changed" * 500})
    publisher.etag = etag
    fetch(publisher.url, partial, pause_seconds=0)
    assert partial.read_bytes() == publisher.content


def test_a_wrong_checksum_is_refused_and_leaves_nothing(
    publisher: Publisher, tmp_path: Path
) -> None:
    """Protects against a damaged or foreign archive."""
    with pytest.raises(EdgeSerError, match="the publisher states 00000000000000000000000000000000"):
        download_corpus(emodb(publisher, md5="0" * 32), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_size_is_refused_before_the_transfer(publisher: Publisher, tmp_path: Path) -> None:
    """Protects the person's time when an address leads to a page instead of the archive."""
    with pytest.raises(EdgeSerError, match="the published archive has 77"):
        download_corpus(emodb(publisher, size=77), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../outside.wav", "wav/../../outside.wav", "/tmp/outside.wav", "C:\\outside.wav"]
)
def test_a_member_outside_the_folder_refuses_the_whole_archive(
    publisher: Publisher, tmp_path: Path, name: str
) -> None:
    """Protects every other file of the person who unpacks."""
    data = tmp_path / "inner" / "corpora"
    data.mkdir(parents=True)
    publisher.content = archive_of({"wav/03a01Fa.wav": tone(), name: b"x"})
    with pytest.raises(EdgeSerError, match="outside its folder"):
        download_corpus(emodb(publisher), data)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert list(data.iterdir()) == []


def test_links_broken_archives_and_foreign_content_are_refused(
    publisher: Publisher, tmp_path: Path
) -> None:
    """Protects against what is a sound transfer of the wrong thing."""
    for content, reason in (
        (archive_of({"wav/03a01Fa.wav": tone()}, link="wav/link.wav"), "has a link in it"),
        (b"<html>please log in</html>", "no sound zip archive"),
        (archive_of({"readme.txt": b"hello"}), "no recordings of EmoDB"),
    ):
        publisher.content = content
        with pytest.raises(EdgeSerError, match=reason):
            download_corpus(emodb(publisher), tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(publisher: Publisher, tmp_path: Path) -> None:
    """Protects a corpus that is there already, under its name in any case."""
    (tmp_path / "emodb").mkdir()
    with pytest.raises(EdgeSerError, match="is there already"):
        download_corpus(emodb(publisher), tmp_path)
    assert publisher.requests == []


def test_refusals_and_other_schemes_are_explained(publisher: Publisher, tmp_path: Path) -> None:
    """Protects the person behind an address that moved, or none at all."""
    corpus = emodb(publisher)
    with pytest.raises(EdgeSerError, match="answered 404"):
        download_corpus(corpus, tmp_path, url=publisher.url.replace("download", "moved"))
    with pytest.raises(EdgeSerError, match="no http or https address"):
        download_corpus(corpus, tmp_path, url="file:///etc/passwd")


def test_an_archive_fetched_by_hand_is_installed_and_kept(tmp_path: Path) -> None:
    """Protects the corpora that only a person can fetch."""
    by_hand = tmp_path / "dataverse_files.zip"
    by_hand.write_bytes(archive_of({"OAF_sad/OAF_bar_sad.wav": tone()}))
    data = corpora_root(tmp_path / "corpora", create=True)
    source = install_archive(find_corpus("TESS"), data, by_hand)
    assert "none published" in source.checksum
    assert [clip.emotion for clip in load_corpus(data, "TESS")] == ["sad"]
    assert by_hand.is_file()


def test_command_line_downloads_and_explains(publisher: Publisher, tmp_path: Path) -> None:
    """Protects `--url`, the exit through EdgeSerError, and the manual step for TESS."""
    data = tmp_path / "new" / "corpora"
    arguments = ["corpora", "download", "emodb", "--data", str(data), "--url", publisher.url]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(data / "EmoDB")
    assert len(load_corpus(data, "EmoDB")) == 2
    wrong = CliRunner().invoke(
        app, ["corpora", "download", "RAVDESS", "--data", str(data), "--url", publisher.url]
    )
    assert isinstance(wrong.exception, EdgeSerError)
    assert "208468073" in str(wrong.exception)
    manual = CliRunner().invoke(app, ["corpora", "download", "TESS", "--data", str(data)])
    assert isinstance(manual.exception, EdgeSerError)
    assert "by hand" in str(manual.exception)
    assert "--archive" in str(manual.exception)
    assert sorted(path.name for path in data.iterdir()) == ["EmoDB"]
