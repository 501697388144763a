"""What the doctor finds, with the sandbox and other real servers on the other side, and real folders."""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
import ssl
import sys
import tempfile
import zlib
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
import trustme

from gameball_async import AsyncGameball, Rejected, __version__
from gameball_async._core.wire import dialect
from gameball_async.cli import doctor as checks
from gameball_async.cli._options import KeyOptions
from gameball_async.cli.doctor import _connectivity, api_key, secret_key
from gameball_async.cli.doctor._findings import CheckStatus
from gameball_async.sandbox import Fault, Limits, Sandbox

from .conftest import KEY, invoke, written
from .stub import Stub, serving

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from gameball_async.cli.doctor._findings import Finding

NETWORK = ["address", "dns", "tcp", "tls", "answer", "access", "clock"]


def doctor(*args: object) -> dict[str, dict[str, Any]]:
    """Run the doctor and return its findings by check; the exit code has to fit them."""
    result = invoke("doctor", "--json", *args)
    told = json.loads(result.stdout)
    assert told["well"] == all(finding["verdict"] != "fail" for finding in told["findings"])
    assert result.exit_code == (0 if told["well"] else 1)
    found = {finding["check"]: finding for finding in told["findings"]}
    assert len(found) == len(told["findings"])
    for finding in found.values():
        assert (finding["remedy"] is not None) == (finding["verdict"] in ("warn", "fail")), finding
    return found


def verdicts(found: dict[str, dict[str, Any]], *checks: str) -> str:
    return " ".join(found[check]["verdict"] for check in checks or NETWORK)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# ------------------------------------------------------------------ against the sandbox


def test_all_is_well_with_the_sandbox_which_is_sent_no_player_and_no_event(sandbox: Sandbox) -> None:
    found = doctor("--base-url", sandbox.url)
    assert list(found) == ["api_key", "secret_key", "versions", "limits", *NETWORK]
    assert verdicts(found) == "ok ok ok skip ok ok skip"
    (request,) = sandbox.requests
    assert (request.player, request.events, request.applied) == (None, (), False)
    assert sandbox.holdings() == {}


@pytest.mark.parametrize("version", ["v3.0", "v4.0", "v4.1"])
def test_each_version_is_tried_where_the_client_sends_its_events(
    version: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAMEBALL_SECRET_KEY", "a-secret-0123456789")
    found = doctor("--base-url", sandbox.url, "--api-version", version)
    assert verdicts(found, "answer", "access") == "ok ok"
    assert [request.path for request in sandbox.requests] == [dialect(version).path]
    assert f"Gameball's API {version}" in found["versions"]["words"]


def test_a_wrong_key_is_told_by_gameball_and_never_printed(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_API_KEY", "wrong-key-0123456789")
    result = invoke("doctor", "--base-url", sandbox.url)
    assert result.exit_code == 1
    assert "ok    answer               HTTP 401\n" in result.stdout
    assert "fail  access               Gameball does not accept the key\n" in result.stdout
    assert "wrong-key" not in result.output
    assert "0123456789" not in result.output


@pytest.mark.parametrize(
    ("fault", "words", "remedy"),
    [
        (Fault.status(401, code=1000), "does not accept the key", "Copy it again"),
        (Fault.status(403), "does not accept the key", "Copy it again"),
        (Fault.status(401, code=1001), "wants a secret key", "Set GAMEBALL_SECRET_KEY"),
        (Fault.status(422, code=6000), "Gameball is disabled", "Enable it"),
        (Fault.status(403, code=8000), "plan does not include", "Ask Gameball"),
    ],
)
def test_why_gameball_does_not_let_in_is_told(fault: Fault, words: str, remedy: str, sandbox: Sandbox) -> None:
    sandbox.script(fault)
    access = doctor("--base-url", sandbox.url)["access"]
    assert access["verdict"] == "fail"
    assert words in access["words"]
    assert remedy in access["remedy"]


ANSWERS = [
    (Fault.status(404), "fail skip", "nothing takes events there"),
    (Fault.status(405), "fail skip", "nothing takes events there"),
    (Fault.status(407), "fail skip", "a proxy requires a user and a password"),
    (Fault.status(404, code=3), "ok ok", "an empty request is refused"),
    (Fault.status(400), "ok skip", "an empty request is refused"),
    (Fault.status(429), "warn skip", "the rate limit is used up"),
    (Fault.status(503), "fail skip", "HTTP 503: Gameball fails"),
    (Fault.status(500, code=5000), "fail skip", "HTTP 500 with code 5000: Gameball fails"),
    (Fault.html(502), "fail skip", "HTTP 502: Gameball fails"),
    (Fault.html(400), "ok skip", "an empty request is refused"),
    (Fault.redirect(), "fail skip", "HTTP 307: a redirect"),
    (Fault.status(200), "warn skip", "HTTP 200 to an empty request, which Gameball refuses"),
    (Fault.success_false(), "warn skip", "HTTP 200 with code 13 to an empty request"),
    (Fault.html(200), "fail skip", "HTTP 200 with text/html instead of JSON: this is not Gameball's API"),
    (Fault.reset_before(), "fail skip", "connected, but no response"),
    (Fault.truncate(), "ok skip", "an empty request is refused"),
    (Fault.huge(100_000), "ok ok", "an empty request is refused"),
]


@pytest.mark.parametrize(("fault", "expected", "words"), ANSWERS, ids=[f"{row[0].kind}-{row[2]}" for row in ANSWERS])
def test_what_the_answer_means_is_told(fault: Fault, expected: str, words: str, sandbox: Sandbox) -> None:
    sandbox.script(fault)
    found = doctor("--base-url", sandbox.url)
    assert verdicts(found, "answer", "access") == expected
    assert words in found["answer"]["words"]


def test_an_answer_that_does_not_come_is_given_up(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connectivity, "PATIENCE", 0.2)
    sandbox.script(Fault.hang())
    found = doctor("--base-url", sandbox.url)
    assert verdicts(found) == "ok ok ok skip fail skip skip"
    assert "no response within" in found["answer"]["words"]


def test_an_answer_that_never_ends_is_read_for_a_while_only(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connectivity, "PATIENCE", 0.2)
    sandbox.script(Fault.drip(0.05, size=100_000))
    assert verdicts(doctor("--base-url", sandbox.url), "answer") == "ok"


# ------------------------------------------------------------------ the way there


def test_a_server_that_is_down_is_told_and_what_lies_behind_is_not_checked(sandbox: Sandbox) -> None:
    sandbox.stop()
    found = doctor("--base-url", sandbox.url)
    assert verdicts(found) == "ok ok fail skip skip skip skip"
    assert "Connection refused" in found["tcp"]["words"]
    assert "Nothing listens there" in found["tcp"]["remedy"]


def test_a_name_that_nobody_knows_is_told() -> None:
    found = doctor("--base-url", "https://gameball.invalid")
    assert verdicts(found) == "ok fail skip skip skip skip skip"
    assert "the name gameball.invalid cannot be looked up" in found["dns"]["words"]


@pytest.mark.parametrize("url", ["ftp://gameball.co", "gameball.co", "https://api.gameball.co/api/v3.0", "http://a b"])
def test_an_address_that_the_client_refuses_is_told_with_the_client_s_words(url: str) -> None:
    found = doctor("--base-url", url)
    assert "address" in found
    assert "dns" not in found
    assert "base_url" in found["address"]["words"]
    assert found["address"]["remedy"] == "Give one such as 'https://api.gameball.co'."


def test_without_a_base_url_it_is_the_client_s_own(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "https://api.gameball.co/" in doctor()["address"]["words"]
    monkeypatch.setenv("GAMEBALL_BASE_URL", sandbox.url)
    assert sandbox.url in doctor()["address"]["words"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("GAMEBALL_API_VERSION", "v4.1"), ("GAMEBALL_BASE_URL", "foo"), ("GAMEBALL_ENABLED", "maybe")],
)
def test_the_environment_makes_no_key_a_bad_one(
    variable: str, value: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("GAMEBALL_SECRET_KEY", "a-secret-key-0123456789")
    found = doctor("--base-url", sandbox.url)
    assert "fail" not in verdicts(found, "api_key", "secret_key")


def test_a_switch_in_the_environment_is_warned_of(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "switch" not in doctor("--base-url", sandbox.url)
    monkeypatch.setenv("GAMEBALL_ENABLED", "0")
    found = doctor("--base-url", sandbox.url)
    assert found["switch"]["verdict"] == "warn"
    assert found["switch"]["words"] == "GAMEBALL_ENABLED=0: clients in this environment send nothing"
    assert found["address"]["verdict"] == "ok"
    monkeypatch.setenv("GAMEBALL_ENABLED", "maybe")
    assert doctor("--base-url", sandbox.url)["switch"]["verdict"] == "fail"


def test_http_to_another_machine_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_API_KEY", "")
    found = doctor("--base-url", "http://gameball.invalid:8080")
    assert found["address"]["words"].startswith("http://gameball.invalid:8080/api/v3.0/integrations/event: not encr")
    assert found["address"]["remedy"] == "Use https."


# ------------------------------------------------------------------ TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def trusted(certificate: trustme.LeafCert) -> Generator[Stub]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    with serving(Stub(), context) as stub:
        yield stub


def test_a_certificate_of_an_unknown_authority_is_told_before_a_key_is_sent(authority: trustme.CA) -> None:
    with trusted(authority.issue_cert("localhost")) as stub:
        found = doctor("--base-url", f"https://localhost:{stub.port}")
    assert verdicts(found) == "ok ok ok fail skip skip skip"
    assert "the certificate is not trusted" in found["tls"]["words"]
    assert "SSL_CERT_FILE" in found["tls"]["remedy"]
    assert stub.asked == []


def test_an_authority_can_be_added_as_the_remedy_says(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with trusted(authority.issue_cert("localhost")) as stub:
        assert verdicts(doctor("--base-url", f"https://localhost:{stub.port}")) == "ok ok ok ok ok ok skip"
        found = doctor("--base-url", f"https://127.0.0.1:{stub.port}")
    assert found["tls"]["verdict"] == "fail"
    assert found["tls"]["remedy"] == "Check the host in --base-url."


def test_a_certificate_that_has_expired_makes_one_look_at_the_date(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    expired = authority.issue_cert("localhost", not_after=datetime.now(UTC) - timedelta(days=1))
    with trusted(expired) as stub:
        found = doctor("--base-url", f"https://localhost:{stub.port}")
    assert found["tls"]["verdict"] == "fail"
    assert "date of this machine" in found["tls"]["remedy"]


def test_https_at_a_port_without_tls_is_told(sandbox: Sandbox) -> None:
    found = doctor("--base-url", sandbox.url.replace("http", "https"))
    assert verdicts(found) == "ok ok ok fail skip skip skip"
    assert "does the server speak TLS there?" in found["tls"]["remedy"]


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "SSL_CERT_FILE"])
def test_settings_of_the_environment_that_no_request_can_be_made_with_are_told(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "gopher://user:password@nowhere")
    found = doctor("--base-url", "https://gameball.invalid")
    assert found["address"]["verdict"] == "fail"
    assert name in found["address"]["remedy"]
    assert "password" not in json.dumps(found)


@pytest.mark.parametrize("proxy", ["http://user:pass/word@proxy:80", "http://[::1", "http://proxy:port"])
def test_a_proxy_that_is_no_address_is_told_without_a_word_of_it(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    found = doctor("--base-url", "https://gameball.invalid")
    assert found["address"]["verdict"] == "fail"
    assert "HTTPS_PROXY" in found["address"]["remedy"]
    assert not any(word in json.dumps(found) for word in ("pass", "word@", "::1"))


def test_a_kind_of_proxy_that_needs_a_further_package_is_told_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://user:password@127.0.0.1:1080")
    found = doctor("--base-url", "https://gameball.invalid")
    assert found["address"]["verdict"] == "fail"
    assert "'socksio' package is not installed" in found["address"]["words"]
    assert "password" not in json.dumps(found)


# ------------------------------------------------------------------ compressed answers

REFUSAL = b'{"code":1001,"message":"secret key required"}'


@pytest.mark.parametrize(
    ("coding", "body", "code"),
    [
        ("gzip", gzip.compress(REFUSAL, mtime=0), 1001),
        ("deflate", zlib.compress(REFUSAL), 1001),
        ("gzip", gzip.compress(REFUSAL, mtime=0)[:15], None),
        ("nonsense", REFUSAL, None),
        ("gzip", gzip.compress(bytes(64 * 1024 * 1024), mtime=0), None),
    ],
    ids=["gzip", "deflate", "truncated", "unknown", "bomb"],
)
def test_a_compressed_answer_is_read(coding: str, body: bytes, code: int | None) -> None:
    with serving(Stub(status=401, body=body, headers={"Content-Encoding": coding})) as stub:
        found = doctor("--base-url", f"http://127.0.0.1:{stub.port}")
    assert ("with code 1001" in found["answer"]["words"]) == (code is not None)
    assert ("wants a secret key" in found["access"]["words"]) == (code is not None)


def test_a_code_inside_an_error_is_read() -> None:
    with serving(Stub(status=401, body=b'{"error":{"code":1001}}')) as stub:
        found = doctor("--base-url", f"http://127.0.0.1:{stub.port}")
    assert "wants a secret key" in found["access"]["words"]


# ------------------------------------------------------------------ proxies


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "https_proxy"])
def test_the_variable_that_names_the_proxy_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv(variable, f"http://127.0.0.1:{port}")
    assert f"proxy that {variable} names" in doctor("--base-url", "https://gameball.invalid")["tcp"]["remedy"]


@pytest.mark.parametrize("exceptions", ["fe80::/10", "[::1]", "[fe80::]/10", "10.0.0.0/8,[::1]:80", "[::"])
def test_any_exceptions_from_the_proxy_can_be_read(exceptions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Stub()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", exceptions)
        found = doctor("--base-url", "http://gameball.invalid")
    assert verdicts(found) == "warn skip ok skip ok ok skip"


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "localhost.", "[::ffff:127.0.0.1]", "foo.localhost", "2130706433", "127.1"]
)
def test_no_spelling_of_this_machine_goes_through_a_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Stub()) as stub, serving(Stub()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        found = doctor("--base-url", f"http://{host}:{stub.port}")
    assert proxy.asked == []
    assert found["address"]["verdict"] == "ok"


def test_a_proxy_is_gone_through_and_its_password_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Stub()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:password@127.0.0.1:{proxy.port}")
        found = doctor("--base-url", "http://gameball.invalid")
    assert verdicts(found) == "warn skip ok skip ok ok skip"
    assert proxy.asked == ["POST http://gameball.invalid/api/v3.0/integrations/event HTTP/1.1"]
    assert f"through the proxy 127.0.0.1:{proxy.port}" in found["address"]["words"]
    assert "password" not in json.dumps(found)


def test_a_proxy_that_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Stub(status=407)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy.port}")
        found = doctor("--base-url", "https://gameball.invalid")
    assert verdicts(found) == "ok skip ok fail skip skip skip"
    assert "refuses (407" in found["tls"]["words"]


def test_a_proxy_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    found = doctor("--base-url", "https://gameball.invalid")
    assert verdicts(found) == "ok skip fail skip skip skip skip"
    assert "HTTPS_PROXY" in found["tcp"]["remedy"]


@pytest.mark.parametrize("exception", ["gameball.invalid", "*", "127.0.0.1"])
def test_a_proxy_is_not_named_where_it_is_not_used(
    exception: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid")
    monkeypatch.setenv("NO_PROXY", exception)
    assert "proxy" not in doctor("--base-url", sandbox.url)["address"]["words"]
    elsewhere = doctor("--base-url", "http://gameball.invalid")
    assert ("proxy" in elsewhere["address"]["words"]) == (exception == "127.0.0.1")


# ------------------------------------------------------------------ the clock


def clock(date: datetime | str | None) -> dict[str, Any]:
    text = format_datetime(date, usegmt=True) if isinstance(date, datetime) else date
    with serving(Stub(date=text)) as stub:
        return doctor("--base-url", f"http://127.0.0.1:{stub.port}")["clock"]


@pytest.mark.parametrize("off", [-5, 0, 5])
def test_a_clock_that_agrees_with_the_date_of_the_answer_is_well(off: int) -> None:
    assert clock(datetime.now(UTC) + timedelta(seconds=off))["verdict"] == "ok"


@pytest.mark.parametrize(("off", "words"), [(30, "s behind the server's"), (-30, "s ahead of the server's")])
def test_a_clock_that_is_off_is_told_with_by_how_much(off: int, words: str) -> None:
    found = clock(datetime.now(UTC) + timedelta(seconds=off))
    assert found["verdict"] == "warn"
    assert re.search(r"is (2[5-9]|3\d) ", found["words"])  # the header tells whole seconds, and a busy machine is slow
    assert words in found["words"]
    assert "NTP" in found["remedy"]


@pytest.mark.parametrize("date", [None, "soon", "Mon, 99 Foo 2026 99:99:99 GMT", ""])
def test_without_a_date_that_can_be_read_the_clock_is_not_checked(date: str | None) -> None:
    assert clock(date)["verdict"] == "skip"


# ------------------------------------------------------------------ keys

API, SECRET = "api-0123456789abcdef", "0123456789abcdef-other"  # what passes for keys
JWT = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"

ODD_KEYS = [
    (None, "fail", "is missing", "Set GAMEBALL_API_KEY"),
    ("0123456789abcdef\n", "fail", "cannot be sent", "Copy it again"),
    ("0123456789 abcdef", "fail", "cannot be sent", "Copy it again"),
    ("0123456789abcdéf", "fail", "cannot be sent", "Copy it again"),
    ('"0123456789abcdef"', "warn", "quotation marks", "Remove"),
    ("'0123456789abcdef'", "warn", "quotation marks", "Remove"),
    ("GAMEBALL_API_KEY=0123456789abcdef", "warn", "begins with its own name", "after the name"),
    ("APIKey:0123456789abcdef", "warn", "begins with its own name", "after the name"),
    (JWT, "warn", "session token", "Copy the key"),
    ("<your-api-key-here>", "warn", "placeholder", "Copy the key"),
    ("my-api-key", "warn", "placeholder", "Copy the key"),
    ("0123456789", "warn", "may be cut off", "Copy all of it"),
    ("0123456789" * 30, "warn", "longer than 256", "Copy the key"),
    ("sk_live_0123456789abcdef", "warn", "looks like a secret key", "Put that into GAMEBALL_SECRET_KEY"),
    ("secret-0123456789abcdef", "warn", "looks like a secret key", "Put that into GAMEBALL_SECRET_KEY"),
    (API, "ok", "looks like a key", ""),
    ("807b041b7d35425988e354e1f6bce186", "ok", "looks like a key", ""),
]


@pytest.mark.parametrize(("key", "verdict", "words", "remedy"), ODD_KEYS)
def test_what_is_no_key_is_told_without_a_character_of_it(
    key: str | None, verdict: str, words: str, remedy: str
) -> None:
    found = api_key(KeyOptions(key))
    assert found.verdict == verdict
    assert words in found.words
    assert remedy in (found.remedy or "")
    assert not key or key[:8] not in repr(found).replace("GAMEBALL_API_KEY", "")


@pytest.mark.parametrize(
    ("keys", "version", "verdict", "words"),
    [
        (KeyOptions(API), "v3.0", "ok", "only if the account's High Security Mode is on"),
        (KeyOptions(API), "v4.0", "ok", "only if the account's High Security Mode is on"),
        (KeyOptions(API), "v4.1", "fail", "v4.1 needs it"),
        (KeyOptions(API, SECRET), "v4.1", "ok", "looks like a key"),
        (KeyOptions(API, "too short"), "v4.1", "fail", "cannot be sent"),
        (KeyOptions(API, "short"), "v4.1", "warn", "may be cut off"),
    ],
)
def test_the_secret_key_is_looked_at_as_the_version_needs_it(
    keys: KeyOptions, version: str, verdict: str, words: str
) -> None:
    found = secret_key(keys, version)
    assert found.verdict == verdict
    assert words in found.words


def test_keys_in_each_other_s_place_are_told() -> None:
    assert "same as the secret key" in api_key(KeyOptions(API, API)).words
    assert "the secret key in GAMEBALL_SECRET_KEY alone is not enough" in api_key(KeyOptions(None, SECRET)).words


def test_a_key_that_cannot_be_sent_is_not_and_the_rest_is_checked_all_the_same(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAMEBALL_API_KEY", "0123456789abcdef\r\nInjected: header")
    found = doctor("--base-url", sandbox.url)
    assert verdicts(found) == "ok ok ok skip ok skip skip"
    assert sandbox.violations[0].kind == "api_key_missing"
    assert "there is no key to try" in found["access"]["words"]


def test_its_request_breaks_no_rule_of_a_sandbox_and_takes_no_room_in_its_rate_limit(tmp_path: Path) -> None:
    path = written(tmp_path / "events", [{"player": f"p{number}", "event": "e"} for number in range(3)])
    with Sandbox(api_key=KEY, limits=Limits(per_second=3, per_30_seconds=3)) as limited:
        for _ in range(5):
            assert doctor("--base-url", limited.url)["answer"]["verdict"] == "ok"
        assert limited.violations == []
        limits = ("--per-second", "3", "--per-30-seconds", "3")
        assert invoke("send", path, "--base-url", limited.url, *limits).exit_code == 0
        assert [record.status for record in limited.requests] == [400] * 5 + [200] * 3
        assert limited.violations == []
        assert doctor("--base-url", limited.url)["answer"]["verdict"] == "warn"  # of the limit that is used up


def test_an_empty_request_of_anybody_else_breaks_a_rule(sandbox: Sandbox) -> None:
    headers = {"APIKey": KEY, "Content-Type": "application/json"}
    httpx.post(
        f"{sandbox.url}/api/v3.0/integrations/event", content=b"{}", headers=headers, trust_env=False, verify=False
    )
    assert [violation.kind for violation in sandbox.violations] == ["missing_player"]


def test_keys_come_from_a_file_which_others_should_not_read(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "keys.env"
    path.write_text(f"GAMEBALL_API_KEY={KEY}\n")
    path.chmod(0o644)
    found = doctor("--base-url", sandbox.url, "--keys-file", path)
    assert found["access"]["verdict"] == "ok"
    assert found["keys_file"]["verdict"] == "warn"
    path.chmod(0o600)
    assert "keys_file" not in doctor("--base-url", sandbox.url, "--keys-file", path)
    path.write_text("nonsense")
    assert invoke("doctor", "--keys-file", path).exit_code == 2


def test_a_key_that_got_into_the_address_is_not_printed_either() -> None:
    """`invoke` looks for it."""
    assert "***.invalid" in invoke("doctor", "--base-url", f"https://{KEY}.invalid").stdout


# ------------------------------------------------------------------ versions and limits


def test_the_versions_at_work_are_named() -> None:
    words = doctor("--base-url", "x")["versions"]["words"]
    for name in (f"gameball_async {__version__}", "Python 3.", "httpx ", "anyio ", "msgspec ", "API v3.0"):
        assert name in words


@pytest.mark.parametrize(
    ("args", "verdict", "words"),
    [
        ([], "ok", "at most 100 requests in 1 s and 1,200 requests in 30 s"),
        (["--share", "0.25"], "ok", "at most 25 requests in 1 s and 300 requests in 30 s"),
        (["--share", "0.001"], "fail", "leaves less than one request in a window"),
        (["--per-second", "200"], "warn", "more than Gameball documents"),
        (["--per-30-seconds", "12000"], "warn", "more than Gameball documents"),
    ],
)
def test_the_pacing_is_told_in_requests(args: list[str], verdict: str, words: str) -> None:
    limits = doctor("--base-url", "x", *args)["limits"]
    assert limits["verdict"] == verdict
    assert words in limits["words"]


# ------------------------------------------------------------------ the journal's folder

ALL = ["folder", "locks", "permissions", "disk", "room", "contents"]


def folder(path: Path, share: float = 1.0) -> dict[str, Finding]:
    return {finding.check.removeprefix("journal_"): finding for finding in checks.folder_findings(path, share)}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal"
    path.mkdir(mode=0o700)
    return path


@contextmanager
def as_nobody() -> Generator[None]:
    """Root may write everywhere; so be somebody else."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may enter, as the tests' own may not be."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def test_a_folder_that_a_journal_can_live_in_is_well_and_left_as_it_was(journal: Path, sandbox: Sandbox) -> None:
    found = doctor("--base-url", sandbox.url, "--journal", journal)
    assert list(found)[-6:] == [f"journal_{check}" for check in ALL]
    assert (
        verdicts(found, "journal_folder", "journal_locks", "journal_permissions", "journal_contents")
        == "ok " * 3 + "ok"
    )
    assert found["journal_contents"]["words"] == "0 clients at work, 0 events left by others, 0 dead letters"
    assert list(journal.iterdir()) == []


def test_a_folder_that_is_missing_is_made_by_a_client_if_it_can_be(tmp_path: Path) -> None:
    found = folder(tmp_path / "not" / "yet")
    assert list(found) == ["folder", "disk", "room"]
    assert found["folder"].verdict is CheckStatus.OK
    assert "a client creates it" in found["folder"].words
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert folder(tmp_path / "file")["folder"].words.endswith("is not a folder")
    below = folder(tmp_path / "file" / "below")["folder"]
    assert (below.verdict, below.words.endswith(f"cannot be created in {tmp_path}/file")) == (CheckStatus.FAIL, True)


def test_a_folder_that_cannot_be_written_is_told(public: Path) -> None:
    (public / "journal").mkdir(mode=0o555)
    with as_nobody():
        found = folder(public / "journal")
    assert (found["folder"].verdict, found["locks"].verdict) == (CheckStatus.FAIL, CheckStatus.SKIP)
    assert "cannot be written (Permission denied)" in found["folder"].words
    assert list((public / "journal").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(public: Path) -> None:
    public.chmod(0o555)
    with as_nobody():
        found = folder(public / "journal")["folder"]
    public.chmod(0o755)
    assert found.verdict is CheckStatus.FAIL
    assert "cannot be created in" in found.words


def test_a_folder_that_cannot_be_entered_is_told(public: Path) -> None:
    public.chmod(0)
    with as_nobody():
        found = folder(public / "journal")["folder"]
    public.chmod(0o755)
    assert found.verdict is CheckStatus.FAIL
    assert "cannot be read (Permission denied)" in found.words


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_that_others_may_enter_is_warned_of(mode: int, journal: Path) -> None:
    journal.chmod(mode)
    found = folder(journal)["permissions"]
    assert (found.verdict, found.remedy) == (CheckStatus.WARN, f"chmod 700 {journal}")
    assert f"mode {mode:o}" in found.words


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_account_is_warned_of(journal: Path) -> None:
    os.chown(journal, 65534, -1)
    assert "belongs to account 65534" in folder(journal)["permissions"].words


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="Linux has it")
def test_a_folder_in_memory_is_warned_of() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        found = folder(Path(name))
    assert found["disk"].verdict is CheckStatus.WARN
    assert found["disk"].words.startswith("the file system is tmpfs, in memory")
    assert found["locks"].verdict is CheckStatus.OK


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:25 / /mnt/with\\040space rw - nfs4 server:/export rw
31 22 0:26 / /mnt/with\\040space/inner rw master:1 - xfs /dev/sdb rw
32 22 0:27 / /srv rw - cifs //server/share rw
33 22 0:28 / /srv rw - btrfs /dev/sdc rw
34 22 0:29 / /over rw - overlay overlay rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "trouble"),
    [
        ("/", "ext4", None),
        ("/mnt", "ext4", None),
        ("/mnt/with space", "nfs4", "locks"),
        ("/mnt/with space/journal", "nfs4", "locks"),
        ("/mnt/with space/inner/journal", "xfs", None),
        ("/mnt/with spaces", "ext4", None),
        ("/srv/journal", "btrfs", None),  # mounted over the other
        ("/over/journal", "overlay", "goes with the container"),
    ],
)
def test_the_file_system_is_the_innermost_that_holds_the_folder(path: str, kind: str, trouble: str | None) -> None:
    found = checks.kind_of(Path(path), MOUNTS)
    assert found == kind
    said = checks.problem_with(kind)
    assert said is None if trouble is None else said and trouble in said


def test_a_network_s_file_system_and_a_system_that_tells_nothing_are_told(
    journal: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checks, "_MOUNTS", tmp_path / "mounts")
    assert folder(journal)["disk"].verdict is CheckStatus.SKIP
    (tmp_path / "mounts").write_text("30 22 0:25 / / rw - nfs server:/export rw\n")
    assert folder(journal)["disk"].verdict is CheckStatus.WARN


def test_locks_that_do_not_hold_are_told(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system of this kind cannot be had here: the calls succeed, and nothing is locked."""

    def succeed(*_: object) -> None:
        return

    monkeypatch.setattr("fcntl.flock", succeed)
    found = folder(journal)["locks"]
    assert found.verdict is CheckStatus.FAIL
    assert "two clients would take the same events" in found.words


@pytest.mark.parametrize(("least", "enough", "verdict"), [(0, 0, "ok"), (0, 2**62, "warn"), (2**62, 2**62, "fail")])
def test_a_disk_without_room_is_told(
    least: int, enough: int, verdict: str, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "LEAST_ROOM", least)
    monkeypatch.setattr(checks, "ENOUGH_ROOM", enough)
    assert folder(journal)["room"].verdict == verdict


def test_what_lies_in_the_journal_is_counted_and_dead_letters_are_warned_of(journal: Path, sandbox: Sandbox) -> None:
    async def live() -> None:
        gameball = AsyncGameball(KEY, base_url=sandbox.url, journal=journal)
        await gameball.start()
        with pytest.raises(Rejected):
            await (await gameball.track("player123", "review"))
        await gameball.track("player123", "place_order")
        await gameball.aclose(timeout=0)

    sandbox.script(Fault.status(422, code=3003, events={"review"}), Fault.status(503))
    anyio.run(live)
    found = folder(journal)["contents"]
    assert (found.verdict, found.words) == (
        CheckStatus.WARN,
        "0 clients at work, 1 event left by others, 1 dead letter",
    )
    assert found.remedy == f"gameball-async dead-letters list {journal}"
    (file,) = journal.glob("*.journal")
    file.write_bytes(b"this is no database, and long enough to be one" * 100)
    damaged = folder(journal)["contents"]
    assert damaged.verdict is CheckStatus.WARN
    assert "it is damaged" in damaged.words


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_clients_that_share_a_journal_and_not_the_rate_limit_are_told(journal: Path, sandbox: Sandbox) -> None:
    async with (
        AsyncGameball(KEY, base_url=sandbox.url, journal=journal),
        AsyncGameball(KEY, base_url=sandbox.url, journal=journal),
    ):
        found, shared = folder(journal)["contents"], folder(journal, 0.5)["contents"]
    assert (found.verdict, shared.verdict) == (CheckStatus.WARN, CheckStatus.OK)
    assert "2 clients at work" in found.words
    assert found.remedy == "Give each of them RateLimit(share=1/2); here, give their share as --share."


# ------------------------------------------------------------------ how it is told


def test_each_line_is_a_verdict_in_words_and_a_remedy_stands_below(sandbox: Sandbox, tmp_path: Path) -> None:
    result = invoke("doctor", "--base-url", sandbox.url, "--share", "0.001", "--journal", tmp_path / "a\x1b[31mb")
    lines = result.stdout.splitlines()
    assert "ok    api key              is there and looks like a key" in lines
    assert "fail  limits               RateLimit(share=0.001) leaves less than one request in a window" in lines
    assert "                           -> Raise share or the limits." in lines
    assert "1 failure, 0 warnings." in lines
    assert "\x1b" not in result.stdout


def test_if_nothing_is_to_be_done_that_is_said(sandbox: Sandbox) -> None:
    result = invoke("doctor", "--base-url", sandbox.url)
    assert result.exit_code == 0
    assert result.stdout.endswith("\nAll that was checked is well.\n")  # the sandbox speaks no TLS
