"""The commands on files, a journal and a sandbox, in one process; with --serve, a sandbox until it is interrupted."""

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from gameball_async.cli import main
from gameball_async.sandbox import Sandbox

EVENT = '{"player_unique_id": "player123", "event": "place_order", "metadata": {"total_amount": 100}}\n'


def run(*arguments: str | Path, code: int = 0) -> str:
    """Run a command and return what it printed, as a terminal of Windows would show it."""
    sys.argv = ["gameball-async", *map(str, arguments)]
    printed = io.BytesIO()
    stream = io.TextIOWrapper(printed, encoding="cp1252", write_through=True)
    ended_with: object = None
    with redirect_stdout(stream), redirect_stderr(stream):
        try:
            main()
        except SystemExit as error:
            ended_with = error.code
    text = printed.getvalue().decode("cp1252")
    assert ended_with == code, f"{arguments} ended with {ended_with}:\n{text}"
    return text


def send_files(folder: Path) -> None:
    events = folder / "events.ndjson"
    events.write_text(EVENT, encoding="utf-8")
    run("send", events, "--sandbox")
    assert list(folder.iterdir()) == [events]
    events.write_text(EVENT + "no JSON\nnor this\n", encoding="utf-8")
    run("send", events, "--sandbox", code=1)
    [rejects] = folder.glob("*rejects*")
    assert rejects.read_bytes().count(b"\n") == 2
    assert b"\r" not in rejects.read_bytes()


def use_journal(folder: Path, journal: Path) -> None:
    with Sandbox() as sandbox:
        assert "a locked file stays locked" in run("doctor", "--base-url", sandbox.url, "--journal", journal)
        assert not list(journal.glob("doctor*"))
        assert "Dead letters: 1." in run("journal", "status", journal)
        assert "review" in run("dead-letters", "list", journal)
        run("dead-letters", "export", journal, folder / "exported.ndjson")
        assert (folder / "exported.ndjson").read_bytes().count(b"\n") == 1
        run("dead-letters", "replay", journal, "--all", "--base-url", sandbox.url)
        assert [event.name for event in sandbox.holdings()["player456"]] == ["review"]


if sys.argv[1:] == ["--serve"]:
    sys.argv = ["gameball-async", "sandbox", "--port", "0"]
    main()
os.environ["GAMEBALL_API_KEY"] = "my-api-key"
files, *journals = map(Path, sys.argv[1:])
send_files(files)
for journal in journals:
    use_journal(files, journal)
print("done")
