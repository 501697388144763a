// The chart of the last minute: requests in each second.

import { byId, count, setText, some } from "./tools.js";

const SECONDS = 60;

export function drawMinute() {
  const namespace = "http://www.w3.org/2000/svg";
  for (let position = 0; position < SECONDS; position += 1) {
    for (const name of ["applied", "others", "unapplied"]) {
      const bar = document.createElementNS(namespace, "rect");
      bar.setAttribute("class", name);
      bar.setAttribute("x", position + 0.12);
      bar.setAttribute("width", 0.76);
      bar.setAttribute("height", 0);
      byId("minute").append(bar);
    }
  }
}

// the counts of the last seconds; `now` in seconds by the sandbox's clock
export function showMinute(seconds, now) {
  const newest = Math.floor(now);
  const found = new Map(seconds.map(([second, ...counts]) => [second, counts]));
  const columns = Array.from({ length: SECONDS }, (_, position) => {
    const [applied, unapplied, others] = found.get(newest - SECONDS + 1 + position) ?? [0, 0, 0];
    return [applied, others, unapplied];
  });
  const most = Math.max(...columns.map(([applied, others, unapplied]) => applied + others + unapplied));
  const top = Math.ceil(1.08 * Math.max(5, most)); // a little air above the highest
  columns.forEach((column, position) => showSecond(column, position, top));
  setText(byId("minute-top"), count(top));
  const refused = columns.reduce((sum, [, , unapplied]) => sum + unapplied, 0);
  byId("minute").setAttribute("aria-label", inWords(most, refused));
}

function showSecond(counts, position, top) {
  const bars = [...byId("minute").children].slice(3 * position, 3 * position + 3);
  let below = 100;
  counts.forEach((requests, kind) => {
    const height = (100 * requests) / top;
    below -= height;
    setBar(bars[kind], below, height);
  });
}

function setBar(bar, y, height) {
  bar.setAttribute("y", y);
  bar.setAttribute("height", height);
}

function inWords(most, refused) {
  if (most === 0) {
    return "Nothing in the last minute.";
  }
  return `At most ${some(most, "request")} in a second of the last minute; ${count(refused)} not applied.`;
}
