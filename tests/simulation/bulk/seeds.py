"""Seeds of clients with bulk requests that failed once, and what they found."""

from __future__ import annotations

FAILED: dict[int, str] = {
    16: "a look at a job that was the probe halted the client when the job was missing; `send` lost the job",
    6: "a probe by a bulk request did not wake single requests",
    9: "likewise",
    1168: "after slow jobs, fast ones were looked at late for dozens of rounds",
    700021: "after a close that gave up jobs, stats() still counted them",
    700048: "the oracle did not know that the parts of a split batch keep its contact",
    700111: "a call was sent in a pause that had begun since its turn came",
    700232: "a close after a cancelled flusher looked at a job again at once",
    1000084: "jobs that were lost after ten minutes counted as jobs that take ten minutes",
    2000128: "the oracle did not know whether a status came at the very instant of the timeout",
    2000469: "the oracle forgot the failures of single requests when a bulk request came between them",
    3000482: "a close of a halted client ended what sends single requests, though a bulk request was the probe",
    5000095: "a close after a cancelled flusher looked at a job again too soon",
    5000267: "a flush looked at a job that takes long without end",
    5000693: "the oracle expected a client to act on a status that came at the instant of the end of its close",
    100527: "after a pause, a job that was looked at late counted as one that takes long",
    204490: "waits for the limits did not count as lack of progress",
    205136: "the age of a job that cannot be found counted as the time that jobs take",
    205778: "progress that was seen in a pause did not count until the next look",
    200488: "the oracle expected a client that closes and was refused to act on a status",
    102918: "the oracle expected a request that began at the instant of a status to know of it",
    107417: "likewise",
    116193: "likewise",
    113394: "the oracle expected a flusher to start that had crashed before",
    1000183: "the oracle took `send` of events that were split to return the outcome of one of them",
}
"""What was wrong, by seed."""
