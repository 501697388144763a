"""Which ids of jobs are taken: they go into paths, into files and into a text column."""

from __future__ import annotations

import pytest

from gameball_async._core.job_answers import job_id, parsed_job_id
from gameball_async._core.receipts import JobId


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"jobId": 123}, 123),
        ({"JobID": "123"}, 123),
        ({"jobId": 123.0}, 123),
        ({"batchId": " 0b6e-4f "}, "0b6e-4f"),
        ({"data": {"id": "017"}}, "017"),
        ({"jobId": "a" * 128}, "a" * 128),
        ({"jobId": None, "batchId": 7}, 7),
    ],
)
def test_an_id_is_taken_in_every_documented_form(content: dict[str, object], expected: JobId) -> None:
    assert job_id(content) == expected
    assert parsed_job_id(str(expected)) == expected


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "..", "a/b", "a?b", "a#b", "a b", "a%2Fb", "a\0b", "\ud800", "\u00e9", "a" * 129, "9" * 5000),
        *(-1, 10**128, True, None, 1.5, [], {}),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_what_would_not_be_the_same_in_a_path_or_in_a_database_is_no_id(value: object) -> None:
    assert job_id({"jobId": value}) is None
