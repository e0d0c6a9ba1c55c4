"""Fetch a publisher's archive and unpack it: resumable, checked, never half in place.

The archive grows under a name of its own beside the corpora; an interrupted transfer goes on
where it stopped (HTTP Range, guarded by the server's own validator, RFC 9110 section 13.1.5).
It is unpacked into a folder beside, which takes its name only when everything is right.
"""

import hashlib
import http.client
import json
import shutil
import stat
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import urlsplit

from edge_ser.corpora.corpus import Archive, Corpus, find_recordings
from firmware_host.errors import EdgeSerError

SOURCE_FILE = "SOURCE.json"
"""Written into the corpus's folder: where it came from and what was checked."""

PORTION = 1 << 18  # bytes read at once
TIMEOUT_SECONDS = 60.0
ATTEMPTS = 5  # connections in a row that bring nothing new before it gives up
PAUSE_SECONDS = 1.0  # before the next attempt, times the attempts so far
USER_AGENT = "edge-ser"

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, and how many of how many bytes (None: not known) are done."""


class BadArchiveError(EdgeSerError):
    """The archive is whole, but it is not what was published or not safe to unpack."""


@dataclass(frozen=True)
class Source:
    """Where a corpus's folder came from; `checksum` says whether the publisher's md5 agreed."""

    corpus: str
    source: str
    bytes: int
    sha256: str
    checksum: str


def download_corpus(
    corpus: Corpus,
    data_dir: Path,
    url: str | None = None,
    progress: Progress | None = None,
    pause_seconds: float = PAUSE_SECONDS,
) -> Source:
    """Fetch a corpus into `data_dir / corpus.name`. Called again, it resumes.

    Args:
        url: another address of the publisher's archive; its checksum is the same.

    Raises:
        EdgeSerError: when the corpus is there already or must be fetched by hand, when the
            transfer stops, the archive is not what was published, or the disk is full.
    """
    check_absent(corpus, data_dir)
    published = corpus.archive
    if published is None and url is None:
        raise EdgeSerError(
            f"{corpus.name} must be fetched by hand: {corpus.how_to_get}; then run "
            f"`edge-ser corpora download {corpus.name} --archive FILE.zip`"
        )
    archive = published or Archive(url=url or "", file_name=f"{corpus.name}.zip")
    address = url or archive.url
    partial = data_dir / f"{corpus.name}.zip.partial"
    fetch(address, partial, archive.size, progress, pause_seconds)
    try:
        source = _install(corpus, data_dir, partial, address, archive.md5, progress)
    except BadArchiveError:
        _forget(partial)  # fetching must begin anew; after any other error it goes on
        raise
    _forget(partial)
    return source


def install_archive(
    corpus: Corpus, data_dir: Path, archive: Path, progress: Progress | None = None
) -> Source:
    """Unpack an archive that was fetched by hand into `data_dir / corpus.name`; it is kept.

    Raises:
        EdgeSerError: as `download_corpus`, or when there is no such file.
    """
    check_absent(corpus, data_dir)
    if not archive.is_file():
        raise EdgeSerError(f"{archive} is no file: give the archive that you fetched")
    md5 = corpus.archive.md5 if corpus.archive else None
    return _install(corpus, data_dir, archive, archive.name, md5, progress)


def check_absent(corpus: Corpus, data_dir: Path) -> None:
    """Raise EdgeSerError when the corpus has a folder already: nothing is overwritten."""
    if folder := corpus.folder(data_dir):
        raise EdgeSerError(
            f"{folder} is there already: check it with `edge-ser corpora verify {corpus.name}`, "
            "or move it away first"
        )


def fetch(
    url: str,
    partial: Path,
    size: int | None = None,
    progress: Progress | None = None,
    pause_seconds: float = PAUSE_SECONDS,
) -> None:
    """Bring `partial` to its full length, going on from what it holds.

    A connection that breaks is taken up again, up to `ATTEMPTS` times without a new byte.

    Raises:
        EdgeSerError: when the address is none of http(s), refuses, or stays silent; what was
            received remains for the next call.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise EdgeSerError(f"{url} is no http or https address: give one, or use --archive FILE")
    failures, reason = 0, ""
    while failures < ATTEMPTS:
        before = _length(partial)
        try:
            if _fetch_once(url, partial, size, progress):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != http.HTTPStatus.TOO_MANY_REQUESTS:
                raise EdgeSerError(
                    f"{url} answered {error.code} {error.reason}: see whether the publisher moved "
                    "it, and give its new address with --url"
                ) from error
            reason = f"the server answered {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError too
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        failures = 0 if _length(partial) > before else failures + 1
        time.sleep(pause_seconds * max(1, failures))
    raise EdgeSerError(
        f"{url} stopped after {_length(partial)} bytes ({reason}): run the same command to go on "
        "from there"
    )


def unpack(archive: Path, folder: Path, progress: Progress | None = None) -> None:
    """Unpack a zip archive into an empty folder.

    Raises:
        EdgeSerError: when it is no zip file, is damaged or encrypted, does not fit on the disk,
            or has a member that is a link or would land outside the folder.
    """
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = bundle.infolist()
            for member in members:
                _check_member(archive, member)
            total = sum(member.file_size for member in members)
            free = shutil.disk_usage(folder).free
            if total > free:
                raise EdgeSerError(
                    f"{archive} unpacks to {total} bytes, but {folder.parent} has {free}: make room"
                )
            done = 0
            for member in members:
                bundle.extract(member, folder)
                done += member.file_size
                if progress:
                    progress("unpacking", done, total)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as error:
        raise BadArchiveError(
            f"{archive} is no sound zip archive ({error}): fetch it again"
        ) from error
    except OSError as error:
        raise EdgeSerError(
            f"{archive} cannot be unpacked into {folder.parent} ({error.strerror or error}): make "
            "room or choose another folder"
        ) from error


def _fetch_once(url: str, partial: Path, size: int | None, progress: Progress | None) -> bool:
    """One connection; True when the file is whole."""
    held, tag = _length(partial), _tag(partial)
    request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT})
    if held and tag:
        # If-Range: when the archive changed meanwhile, the server sends it whole.
        request.add_header("Range", f"bytes={held}-")
        request.add_header("If-Range", tag)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(held):
                return True  # it was whole already
            _forget(partial)
            return False
        raise
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        start = response.headers.get("Content-Range", "")
        if resumed and not start.startswith(f"bytes {held}-"):
            _forget(partial)  # not the part that was asked for: begin again
            return False
        length: str | None = response.headers.get("Content-Length")
        done = held if resumed else 0
        total: int | None = done + int(length) if length else size
        _check_size(url, total, size)
        if not resumed:
            # The new validator first: bytes of one archive never meet the tag of another.
            with _writing(partial):
                partial.unlink(missing_ok=True)
                _tag_file(partial).write_text(_validator(response.headers), encoding="utf-8")
        while portion := response.read(PORTION):
            with _writing(partial), partial.open("ab") as file:
                file.write(portion)
            done += len(portion)
            if progress:
                progress("fetching", done, total)
    return total is None or done >= total


@contextmanager
def _writing(partial: Path) -> Iterator[None]:
    """A disk that refuses is told apart from a network that does."""
    try:
        yield
    except OSError as error:
        raise EdgeSerError(
            f"{partial} cannot be written ({error.strerror}): make room or choose another "
            "folder, then run the same command to go on"
        ) from error


def _check_size(url: str, total: int | None, published: int | None) -> None:
    if total is not None and published is not None and total != published:
        raise EdgeSerError(
            f"{url} offers {total} bytes, but the published archive has {published}: see whether "
            "it is the right address"
        )


def _validator(headers: http.client.HTTPMessage) -> str:
    """What If-Range may carry: a strong entity tag, or the date; empty when there is neither."""
    tag: str = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _install(
    corpus: Corpus,
    data_dir: Path,
    archive: Path,
    source: str,
    md5: str | None,
    progress: Progress | None,
) -> Source:
    digests = _digests(archive, progress)
    if md5 is not None and digests["md5"] != md5:
        raise BadArchiveError(
            f"{source} has the md5 {digests['md5']}, but the publisher states {md5}: nothing was "
            "installed, fetch it again"
        )
    found = Source(
        corpus=corpus.name,
        source=source,
        bytes=_length(archive),
        sha256=digests["sha256"],
        checksum=f"md5 {md5} as published" if md5 else "none published; sha256 recorded",
    )
    with _writing(data_dir / corpus.name):
        beside = Path(tempfile.mkdtemp(prefix=f".{corpus.name}-", dir=data_dir))
    try:
        unpack(archive, beside, progress)
        if not find_recordings(beside, corpus).clips:
            raise BadArchiveError(
                f"{source} holds no recordings of {corpus.name} under the publisher's file names: "
                "see whether it is the right archive"
            )
        text = json.dumps(asdict(found), indent=2) + "\n"
        (beside / SOURCE_FILE).write_text(text, encoding="utf-8")
        beside.chmod(0o755)  # a temporary folder is its maker's alone
        beside.rename(data_dir / corpus.name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return found


def _check_member(archive: Path, member: zipfile.ZipInfo) -> None:
    """Refuse the whole archive for one member that is a link or leads out of the folder.

    zipfile drops such path parts by itself; but an archive that has them is not the
    publisher's, and is better not trusted at all.
    """
    name = member.filename
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.is_absolute() or path.drive or ".." in path.parts:
            raise BadArchiveError(
                f"{archive} has a member outside its folder ({name}): do not trust it, fetch the "
                "archive from the publisher"
            )
    if stat.S_ISLNK(member.external_attr >> 16):
        raise BadArchiveError(
            f"{archive} has a link in it ({name}): do not trust it, fetch the archive from the "
            "publisher"
        )
    if member.flag_bits & 1:
        raise BadArchiveError(f"{archive} is encrypted: unpack it by hand")


def _digests(path: Path, progress: Progress | None) -> dict[str, str]:
    # md5 is what publishers state; against damage in transit it is enough.
    sums = {
        "md5": hashlib.md5(usedforsecurity=False),
        "sha256": hashlib.sha256(),
    }
    total, done = _length(path), 0
    with path.open("rb") as file:
        while portion := file.read(PORTION):
            for digest in sums.values():
                digest.update(portion)
            done += len(portion)
            if progress:
                progress("checking", done, total)
    return {name: digest.hexdigest() for name, digest in sums.items()}


def _tag_file(partial: Path) -> Path:
    return partial.with_name(partial.name + ".tag")


def _tag(partial: Path) -> str:
    file = _tag_file(partial)
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _forget(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _tag_file(partial).unlink(missing_ok=True)
