"""How the wheel is where it was installed: without its extras, and with those for the command line and the sandbox."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gameball_async import __version__
from gameball_async.sandbox import Sandbox

from .conftest import EXTRAS, ROOT

if TYPE_CHECKING:
    from .conftest import Environment

# ------------------------------------------------------------------ without extras


def test_the_package_is_imported_from_where_it_was_installed_and_needs_no_extra(bare: Environment) -> None:
    done = bare.run("-c", "import gameball_async; print(gameball_async.__version__, gameball_async.__file__)")
    assert done.stderr == ""
    version, path = done.stdout.split(maxsplit=1)
    assert version == __version__
    assert Path(path.strip()).is_relative_to(bare.folder)


FIRST_EXAMPLE = """
import ast, asyncio, sys
from gameball_async import AsyncGameball

AsyncGameball.__init__.__kwdefaults__["base_url"] = sys.argv[1]
example = compile(sys.argv[2], "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
asyncio.run(eval(example, defined := {}))
print(defined["delivered"].status)
"""


def test_the_first_example_of_the_readme_runs_in_a_fresh_environment(bare: Environment) -> None:
    example = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)[0]
    with Sandbox() as sandbox:
        # with another key, because the client warns of the placeholder
        done = bare.run("-c", FIRST_EXAMPLE, sandbox.url, example.replace('"my-api-key"', '"a-key"'))
    assert (done.stdout, done.stderr) == ("200\n", "")
    assert [request.events for request in sandbox.requests] == [("place_order", "review")]
    assert sandbox.violations == []


DOORS = {
    "cli": ["-m", "gameball_async"],
    "outbox": ["-c", "from gameball_async.outbox import Relay; Relay('dbname=shop', 'a-key')"],
    "sandbox": ["-c", "import gameball_async.sandbox"],
}
"""How an extra is entered that is no integration."""


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_is_named_where_it_is_missing(extra: str, bare: Environment) -> None:
    done = bare.run(*DOORS.get(extra, ["-c", f"import gameball_async.integrations.{extra}"]))
    assert done.returncode != 0
    assert f"gameball-async[{extra}]" in done.stderr


def test_the_command_names_its_extra_without_a_traceback(bare: Environment) -> None:
    for done in (bare.script("doctor"), bare.run("-m", "gameball_async", "doctor")):
        assert done.returncode == 2
        assert (
            done.stderr == 'gameball-async needs "click", which is not installed: pip install "gameball-async[cli]"\n'
        )


# ------------------------------------------------------------------ with the command line and the sandbox


def test_the_doctor_finds_the_installed_versions_and_the_sandbox(furnished: Environment) -> None:
    with Sandbox() as sandbox:
        done = furnished.script("doctor", "--json", "--base-url", sandbox.url, GAMEBALL_API_KEY="0123456789abcdef")
    told = json.loads(done.stdout)
    assert told["well"], told
    assert f"gameball_async {__version__}, " in told["findings"][2]["words"]


def test_a_file_is_sent_to_the_sandbox_that_was_installed_with_it(furnished: Environment) -> None:
    (furnished.folder / "events.ndjson").write_text('{"player": "player123", "event": "review"}\n')
    done = furnished.script("send", "events.ndjson", "--sandbox")
    assert done.returncode == 0, done.stderr
    assert "The sandbox holds                          1 event\n" in done.stdout


PAGE = """
import urllib.request
from gameball_async.sandbox import Sandbox

with Sandbox() as sandbox:
    with urllib.request.urlopen(sandbox.url + "/_sandbox/") as answer:
        print(answer.status, answer.headers["content-type"])
"""


def test_the_sandbox_has_its_page_with_it(furnished: Environment) -> None:
    done = furnished.run("-c", PAGE)
    assert done.stdout.startswith("200 text/html"), done.stderr
