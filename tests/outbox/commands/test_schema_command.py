"""`relay schema` prints what `schema` and `grants` return."""

from __future__ import annotations

import subprocess
import sys

from cli.conftest import invoke

from gameball_async.outbox import grants, schema
from gameball_async.outbox._tables import VERSION


def test_it_prints_the_sql() -> None:
    assert invoke("relay", "schema").stdout == schema()


def test_with_the_grants_of_two_roles() -> None:
    assert invoke("relay", "schema", "--grants", "shop", "relay").stdout == schema() + grants(
        application="shop", relay="relay"
    )


def test_the_latest_version_needs_nothing() -> None:
    assert invoke("relay", "schema", "--since", VERSION).stdout == ""


def test_an_upgrade_to_a_version() -> None:
    assert invoke("relay", "schema", "--since", 1, "--to", 2).stdout == schema(since=1, to=2)
    assert invoke("relay", "schema", "--to", 1).stdout == schema(to=1)


def test_an_unknown_version_is_wrong_usage() -> None:
    result = invoke("relay", "schema", "--since", 99)

    assert result.exit_code == 2
    assert "from version 99" in result.stderr


def test_it_needs_no_driver() -> None:
    """An administrator runs it where no database is."""
    code = (
        "import sys\nsys.modules['psycopg'] = None\nfrom gameball_async.cli._main import app\n"
        "app(['relay', 'schema'], standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == schema()
