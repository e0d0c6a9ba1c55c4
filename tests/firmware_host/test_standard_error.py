"""Standard error is the whole process's: whoever turns it aside puts it back as it was."""

import os
import tempfile
import threading

import pytest

from firmware_host.standard_error import turned_aside


def test_what_is_written_meanwhile_goes_elsewhere(capfd: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryFile() as elsewhere:
        with turned_aside(elsewhere.fileno()), turned_aside(elsewhere.fileno()):
            os.write(2, b"chatter")
        os.write(2, b"an error")
        elsewhere.seek(0)
        assert elsewhere.read() == b"chatter"
    assert capfd.readouterr().err == "an error"


def test_threads_that_turn_it_aside_at_once_leave_it_as_it_was(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A model is loaded while a microphone is looked for: neither keeps the other's place."""
    begun, inside = threading.Event(), threading.Event()

    def second() -> None:
        begun.set()
        with tempfile.TemporaryFile() as elsewhere, turned_aside(elsewhere.fileno()):
            inside.set()

    thread = threading.Thread(target=second)
    with tempfile.TemporaryFile() as elsewhere, turned_aside(elsewhere.fileno()):
        thread.start()
        assert begun.wait(60)
        assert not inside.wait(0.05), "both are in it"
    thread.join()
    os.write(2, b"an error")
    assert capfd.readouterr().err == "an error"


def test_without_standard_error_nothing_is_turned_aside() -> None:
    with tempfile.TemporaryFile() as elsewhere:
        kept = os.dup(2)
        os.close(2)
        try:
            with turned_aside(elsewhere.fileno()), pytest.raises(OSError, match="descriptor"):
                os.fstat(2)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
