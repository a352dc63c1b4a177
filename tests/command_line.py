"""What the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest
from nonsense import sentences

from tinyalbert.cli import main


def error(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> str:
    """The one sentence that a mistake is answered with."""
    assert main([str(argument) for argument in argv]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    return message.removeprefix("error: ").rstrip()


def write_corpus(folder: Path) -> Path:
    """20 documents of 20 sentences, one a line."""
    path, lines = folder / "corpus.txt", sentences(400)
    path.write_text("\n\n".join("\n".join(lines[i:i + 20]) for i in range(0, 400, 20)))
    return path
