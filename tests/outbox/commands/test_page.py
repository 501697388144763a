"""The page on the relay: its commands print what it shows, its files are the examples', and its tests exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from cli.conftest import invoke
from docs.pages import DOCS, ROOT, code_in

from gameball_async.cli._relay_commands import relay
from gameball_async.outbox._outbox_storage import POLL

PAGE = DOCS["relay"]
TEXT = " ".join(PAGE.text.split())
FOLDER = ROOT / "examples" / "relay_service"
SHOWN = {
    line.removeprefix("$ "): block.text.partition(line)[2].partition("$ ")[0].strip("\n")
    for block in PAGE.blocks()
    if block.info == "text"
    for line in block.text.splitlines()
    if line.startswith("$ gameball-async")
}
"""By command: what the page shows of its output."""


@pytest.fixture(autouse=True)
def _outbox(connection: psycopg.Connection) -> None:
    """What the page shows."""
    for name, delivered, rate, shards in (("relay-1", 12345, 20.0, range(32)), ("relay-2", 12001, 19.5, range(32, 64))):
        connection.execute(
            "WITH relay AS (INSERT INTO gameball_relay (name, started_at, until, version, delivered, rate) "
            "VALUES (%s, now() - interval '2 hours', now() + interval '9 s', 2, %s, %s) RETURNING id) "
            "UPDATE gameball_shard SET relay = relay.id FROM relay WHERE shard = ANY(%s)",
            [name, delivered, rate, list(shards)],
        )
    connection.execute(
        "INSERT INTO gameball_event (player, name, accepted_at) "
        "SELECT 'player' || n, 'review', now() - interval '2 hours' FROM generate_series(1, 7) n"
    )
    connection.execute(
        "INSERT INTO gameball_sent (shard, first, seqs, player, relay) "
        "SELECT shard, seq, ARRAY[seq], player, 1 FROM gameball_event LIMIT 2"
    )
    connection.execute(
        "INSERT INTO gameball_dead (seq, player, name, metadata, accepted_at, kind, error, status, code, at) VALUES "
        "(17, 'player123', 'review', '{\"rating\": 6}', '2026-01-31 12:00:00Z', 'Rejected', "
        "'Gameball refused the event (HTTP 422, code 3003: The value is invalid.).', 422, 3003, now())"
    )


VARYING = [(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "(a time)"), (r"(oldest +)\S.*$", r"\1(a duration)"), (r" +", " ")]


def same(text: str) -> str:
    """The text without what varies."""
    for pattern, words in VARYING:
        text = re.sub(pattern, words, text, flags=re.MULTILINE)
    return re.sub(r"lease \d s", "lease (seconds)", text).strip()


@pytest.mark.parametrize(
    "command", [command for command in SHOWN if command.split()[2] in {"status", "dead"}], ids=lambda line: line
)
def test_a_command_prints_what_the_page_shows(command: str) -> None:
    shown, (_, *arguments) = SHOWN[command], shlex.split(command)
    result = invoke(*arguments)
    printed = same(result.output)
    assert result.exit_code == ("Problem" in shown)
    if shown.startswith("...\n"):
        assert printed.endswith(same(shown.removeprefix("...\n")))
    else:
        assert printed == same(shown)


def test_there_are_commands_to_check() -> None:
    assert len(SHOWN) >= 7


@pytest.mark.parametrize("command", SHOWN, ids=lambda line: line)
def test_every_command_of_the_page_can_be_typed(command: str) -> None:
    _, _, *arguments = shlex.split(command.partition(" > ")[0])
    parse(arguments)


def parse(arguments: list[str]) -> None:
    command: Any = relay
    while hasattr(command, "commands"):
        command = command.commands[arguments[0]]
        arguments = arguments[1:]
    command.make_context(command.name, arguments)


def test_the_page_shows_the_files_of_the_example() -> None:
    shown = [block.text for block in PAGE.blocks() if block.info in {"yaml", "ini"}]
    names = ("gameball-relay.service", "kubernetes.yaml", "compose.yaml")
    assert shown == [(FOLDER / name).read_text("utf-8") for name in names]


def test_the_commands_in_these_files_can_be_typed() -> None:
    deployment = yaml.safe_load((FOLDER / "kubernetes.yaml").read_text("utf-8"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
    (unit,) = re.findall(r"^ExecStart=(.*)$", (FOLDER / "gameball-relay.service").read_text("utf-8"), re.MULTILINE)
    for command in (container["args"], shlex.split(compose["services"]["relay"]["command"]), shlex.split(unit)):
        assert Path(command[0]).name == "gameball-async"
        assert command[1:3] == ["relay", "run"]
        parse(command[2:])


def test_the_probes_of_kubernetes_find_the_ready_file(tmp_path: Path) -> None:
    deployment = yaml.safe_load((FOLDER / "kubernetes.yaml").read_text("utf-8"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ready = container["args"][container["args"].index("--ready-file") + 1]
    probes = [container[name]["exec"]["command"] for name in ("readinessProbe", "livenessProbe")]

    def passed() -> list[bool]:
        lines = [[word.replace(ready, str(tmp_path / "ready")) for word in probe] for probe in probes]
        return [subprocess.run(line, capture_output=True, check=False).returncode == 0 for line in lines]

    assert passed() == [False, False]
    (tmp_path / "ready").touch()
    assert passed() == [True, True]
    subprocess.run(["touch", "-d", "2 minutes ago", tmp_path / "ready"], check=True)
    assert passed() == [True, False]


def test_the_compose_file_fits_its_schema() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    subprocess.run([*check, FOLDER / "compose.yaml"], check=True)


def test_every_failure_of_the_table_has_a_test() -> None:
    sources = "\n".join(
        path.read_text("utf-8") for folder in ("tests", "examples") for path in ROOT.glob(f"{folder}/**/*.py")
    )
    rows = PAGE.tables()["What can fail/What happens"]
    assert rows
    for row in rows:
        (name,) = code_in(row["Test"])
        assert f"def {name}(" in sources, name


def test_the_figures_of_the_page_are_the_code_s() -> None:
    assert POLL == 0.2
    assert "looks for new events five times a second" in TEXT
    assert "after 5,000 deleted rows" in TEXT
