// The table of jobs: what became of bulk requests.

import { byId, copyOf, count, setText, some, took } from "./tools.js";

// the jobs that are shown, by id, the latest first
let shown = [];

export function showJobs({ jobs, jobCount }, now) {
  const body = byId("job-rows");
  byId("jobs-panel").hidden = jobCount === 0;
  document.querySelector("main").classList.toggle("with-jobs", jobCount > 0);
  setText(byId("jobs-shown"), jobCount > jobs.length ? `The latest ${jobs.length} of ${count(jobCount)}.` : "");
  shown = jobs;
  while (body.children.length > jobs.length) {
    body.lastElementChild.remove();
  }
  while (body.children.length < jobs.length) {
    body.append(copyOf("job-template"));
  }
  jobs.forEach((job, position) => showJob(body.children[position], job));
  showJobTimes(now);
}

function showJob(line, { id, state, items, processed, failed, polls }) {
  const part = (name) => line.querySelector(`[data-part=${name}]`);
  const meter = line.querySelector(".meter");
  line.dataset.state = state;
  setText(part("id"), `#${id}`);
  setText(part("state"), state);
  setText(part("done"), processed === items ? some(items, "item") : `${count(processed)} of ${some(items, "item")}`);
  setText(part("failed"), failed > 0 ? `${count(failed)} failed` : "");
  setText(part("polls"), some(polls, "poll"));
  meter.setAttribute("aria-label", `Items of job ${id}`);
  meter.setAttribute("aria-valuemax", items);
  meter.setAttribute("aria-valuenow", processed);
  meter.firstElementChild.style.setProperty("--share", processed / items);
}

// how long a job took, or how old it is; `now` in seconds by the sandbox's clock
export function showJobTimes(now) {
  shown.forEach(({ accepted, finished }, position) => {
    const milliseconds = Math.max(0, Math.round(1000 * ((finished ?? now) - accepted)));
    setText(byId("job-rows").children[position].querySelector("[data-part=age]"), took(milliseconds));
  });
}
