"""The page on the command line: what it prints is what the commands print, its tables are the code's."""

from __future__ import annotations

import json
import re
import shlex
import ssl
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click
import pytest
import trustme

from gameball_async import AsyncGameball
from gameball_async.cli import doctor as checks
from gameball_async.cli._main import app
from gameball_async.cli._relay_commands import relay
from gameball_async.cli.doctor import _connectivity
from gameball_async.cli.doctor._findings import CheckStatus
from gameball_async.sandbox import Sandbox

from .conftest import KEY, invoke
from .stub import Stub, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text("utf-8")
BLOCKS = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILE = next(block for block in BLOCKS if block.startswith("InvoiceNo,"))
LEFT_OUT = "..."


@attrs.frozen
class Example:
    """A command of the page and what it prints, as far as the page shows it."""

    line: str
    output: list[str]

    @classmethod
    def read(cls, block: str) -> Example:
        command, _, output = block.removeprefix("$ ").replace("\\\n", " ").partition("\n")
        return cls(command, output.splitlines())

    @property
    def args(self) -> list[str]:
        return shlex.split(self.line)


EXAMPLES = [Example.read(block) for block in BLOCKS if block.startswith("$ ")]


def having(words: str) -> list[Example]:
    found = [example for example in EXAMPLES if words in example.line]
    assert found, words
    return found


VARYING = [
    (r"https://\S+(?=/api/)", "(an address)"),
    (r"the name \S+ is", "the name (a host) is"),
    (r"connected to \S+ port \d+", "connected"),
    (r"gameball_async \d.*;", "(versions);"),
    (r"[\d.,]+ GiB free", "(room)"),
    (r"the file system is \S+", "the file system is (of a kind)"),
    (r"\d+ s$", "(seconds)"),
    (r": (self-signed certificate in certificate chain|unable to get local issuer certificate)$", "(OpenSSL's words)"),
]
"""What no two machines print alike."""


def without_what_varies(lines: list[str]) -> list[str]:
    text = "\n".join(line.rstrip() for line in lines)
    for pattern, words in VARYING:
        text = re.sub(pattern, words, text, flags=re.MULTILINE)
    return text.splitlines()


def check(example: Example, printed: str) -> None:
    """Make sure that the command prints what the page shows; for a line of three dots any may stand."""
    shown = [".*" if line == LEFT_OUT else re.escape(line) for line in without_what_varies(example.output)]
    lines = "\n".join(without_what_varies(printed.splitlines()))
    assert re.fullmatch("\n".join(shown), lines, re.DOTALL), lines


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def gameball(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server with TLS that answers as Gameball's pages say, at the address of the environment."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    with serving(Stub(date=formatdate(usegmt=True)), context) as stub:
        monkeypatch.setenv("GAMEBALL_BASE_URL", f"https://localhost:{stub.port}")
        yield


def ext4(_: Path) -> str:
    """The page's kind of file system, whatever the tests run on."""
    return "ext4"


# ------------------------------------------------------------------ outputs


@pytest.mark.usefixtures("gameball")
def test_a_doctor_who_finds_all_well_prints_what_the_page_shows(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    (tmp_path / "journal").mkdir(mode=0o700)
    monkeypatch.setattr(checks, "kind_of", ext4)
    (with_journal,) = having("doctor --journal")
    check(with_journal, invoke(*with_journal.args[1:]).stdout)
    (as_json,) = having("doctor --json")
    printed = invoke(*as_json.args[1:]).stdout
    shown, _, end = as_json.output[0].partition(LEFT_OUT)
    assert printed.startswith(shown)
    assert printed.endswith(end + "\n")


@pytest.mark.usefixtures("gameball")
def test_a_doctor_who_does_not_trust_prints_what_the_page_shows() -> None:
    (failing,) = [example for example in EXAMPLES if example.line == "gameball-async doctor"]
    result = invoke("doctor")
    assert result.exit_code == 1
    check(failing, result.stdout)


def test_the_backfill_goes_as_the_page_tells(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop.csv").write_text(FILE)
    defaults = AsyncGameball.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "base_url", sandbox.url)
    for example in having("shop.csv"):
        program, *args = example.args
        printed = (tmp_path / args[0]).read_text() if program == "cat" else invoke(*args).stdout
        check(example, printed)
    held = sandbox.holdings()
    assert {player: len(events) for player, events in held.items()} == {"17850": 3, "14527": 1}
    assert held["14527"][0].metadata == {
        "order": "C536379",
        "product": "D",
        "quantity": -1,
        "price": 27.5,
        "bought_at": "2010-12-01T09:41:00",
    }


def test_the_last_line_of_a_completion_is_the_page_s() -> None:
    (example,) = having("completion")
    assert invoke(*example.args[1:]).stdout.splitlines()[-1] == example.output[-1]


def test_the_sandbox_takes_the_fault_of_the_page() -> None:
    (example,) = having("--fault")
    assert app.commands["sandbox"].make_context("sandbox", example.args[2:]).params["faults"]


def test_an_event_s_name_may_hold_a_column_as_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text(FILE.replace("United Kingdom", "France"))
    name = re.findall(r"`--event '(\S+)'` makes `(\S+)`", PAGE)[0]
    result = invoke("send", "shop.csv", "--sandbox", "--player-column", "CustomerID", "--event", name[0])
    assert "accepted by Gameball                           4" in result.stdout
    assert name[1] == name[0].format(Country="France")


# ------------------------------------------------------------------ tables


def cells(heading: str) -> list[list[str]]:
    """What stands between backticks in the first column of the table under these words."""
    rows = re.findall(r"^\|(.*)\|$", PAGE.partition(f"\n| {heading} |")[2].partition("\n\n")[0], re.MULTILINE)
    return [re.findall(r"`([^`]+)`", row.partition("|")[0]) for row in rows if "---" not in row][0:]


def test_every_command_is_in_the_table() -> None:
    named = {words[0].split()[1] for words in cells("Command") if words}
    assert named == set(app.commands)


@pytest.mark.parametrize(
    ("command", "heading"), [("send", "Option"), ("track", "Option of `track`"), ("preview", "Option of `preview`")]
)
def test_every_option_of_a_command_is_in_its_table(command: str, heading: str) -> None:
    check_options(app.commands[command], heading)


def test_every_option_of_a_relay_is_in_its_table() -> None:
    check_options(relay.commands["run"], "Option of `relay run`")


def check_options(command: click.Command, heading: str) -> None:
    named = {option for row in cells(heading) for option in row}
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert named == {max(option.opts, key=len) for option in options}


def test_every_verdict_and_every_check_is_in_the_tables(tmp_path: Path, sandbox: Sandbox) -> None:
    assert [row[0] for row in cells("Verdict") if row] == list(CheckStatus)
    (tmp_path / "keys.env").write_text(f"GAMEBALL_API_KEY={KEY}\nGAMEBALL_SECRET_KEY=secret-{KEY}\n")
    (tmp_path / "keys.env").chmod(0o644)
    (tmp_path / "journal").mkdir()
    access = ("--base-url", sandbox.url, "--api-version", "v4.0", "--keys-file", "keys.env")
    bulk = ("--bulk", "--player", "test-1", "--event", "visit")
    told = json.loads(invoke("doctor", "--json", *access, *bulk, "--journal", "journal").stdout)
    assert [row[0] for row in cells("Check") if row] == [finding["check"] for finding in told["findings"]]


def test_the_figures_of_the_page_are_the_code_s() -> None:
    assert _connectivity.CLOCKS_MAY_DIFFER == 10
    assert (checks.ENOUGH_ROOM, checks.LEAST_ROOM) == (256 * 1024 * 1024, 1024 * 1024)
    assert "at most 10 s from the `Date`" in PAGE
    assert "256 MiB are free: a day of ten events per second. Below 1 MiB a journal accepts nothing." in PAGE
    assert "so 100,000 line items of one event take 42 minutes" in " ".join(PAGE.split())
    assert round(100_000 / (1_200 / 30) / 60) == 42
