// Shows what the sandbox sends, and sends it what the buttons ask for.

import { showJobs, showJobTimes } from "./jobs.js";
import { drawMinute, showMinute } from "./minute.js";
import { byId, copyOf, count, element, seldom, setText, some, took } from "./tools.js";

const FEW_ROWS = 25; // in the list
const MOST_ROWS = 100; // in the list when more are wanted, however much arrives
const MOST_KEPT = 1000; // rows to choose from when only some kinds are shown
const BETWEEN_LOOKS = 1000; // milliseconds between two questions about players
const BETWEEN_WORDS = 15000; // milliseconds between two announcements of what has arrived
const ABSENCE = 10; // seconds for which connections are refused


const state = {
  news: null, // the latest message
  last: "", // its id
  heard: 0, // when it came, in milliseconds
  rows: [], // the latest requests, the newest first
  most: FEW_ROWS, // rows in the list
  held: null, // the rows shown while the list is held, else null
  requestsWhenHeld: 0,
  hasOthers: false, // whether there were bulk requests, requests about jobs or previews
  player: null, // the player shown, or null for all
  source: null,
  awayUntil: 0, // until then it is no surprise that nothing listens
};

// ---- asking

async function ask(path, value, method = "POST") {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(path, { method, headers, body: JSON.stringify(value) }).catch(() => null);
  if (answer === null || !answer.ok) {
    say("The sandbox has not done that: is it still running?");
  }
}

async function look(path) {
  const answer = await fetch(path).catch(() => null);
  return answer !== null && answer.ok ? answer.json() : null;
}

function listen() {
  state.source?.close();
  const source = new EventSource(`page/news?last=${encodeURIComponent(state.last)}`);
  state.source = source;
  source.onopen = () => showState("live", "Live");
  source.onmessage = (message) => {
    state.last = message.lastEventId;
    hear(JSON.parse(message.data));
  };
  source.onerror = () => {
    showState("away", performance.now() < state.awayUntil ? "Refusing connections" : "Out of reach, trying again");
    if (source.readyState === EventSource.CLOSED) {
      setTimeout(listen, 2000);
    }
  };
}

// a hidden page needs no news, and a browser grants one address few connections
function listenWhileVisible() {
  if (document.hidden) {
    state.source?.close();
  } else {
    listen();
  }
}

// ---- hearing

function hear(news) {
  state.news = news;
  state.heard = performance.now();
  const rows = news.isFresh ? [] : state.rows;
  state.rows = [...news.rows.toReversed(), ...rows].slice(0, MOST_KEPT);
  if (news.isFresh) {
    hold(false);
  }
  showNumbers(news);
  showWindows(news);
  showMinute(news.seconds, secondsNow());
  showFaults(news);
  showRows();
  showJobs(news, secondsNow());
  if (news.isFresh || news.rows.length > 0) {
    lookAtPlayers();
  }
  sayWhatArrived(news);
}

function showState(name, words) {
  byId("state").dataset.state = name;
  byId("state-words").textContent = words;
}

// ---- numbers and pace

function showNumbers(news) {
  const merged = news.applied > 0 ? (news.events / news.applied).toFixed(2) : "–";
  for (const cell of document.querySelectorAll("[data-figure]")) {
    const value = cell.dataset.figure === "merged" ? merged : count(news[cell.dataset.figure]);
    setText(cell, value);
    if (cell.dataset.alarm) {
      cell.dataset.alarm = value === "0" ? "calm" : "raised";
    }
  }
}

function showWindows(news) {
  byId("unlimited").hidden = news.windows.length > 0;
  placeWindows(byId("windows"), news.windows, "Last");
  if (news.isFresh) {
    state.hasOthers = false;
  }
  state.hasOthers ||= news.jobCount > 0 || news.otherWindows.some(({ used }) => used > 0);
  byId("other-windows-box").hidden = !state.hasOthers || news.otherWindows.length === 0;
  placeWindows(byId("other-windows"), news.otherWindows, "Others, last");
  for (const legend of document.querySelectorAll(".legend.of-others")) {
    legend.hidden = !state.hasOthers;
  }
}

function placeWindows(box, windows, prefix) {
  while (box.children.length > windows.length) {
    box.lastElementChild.remove();
  }
  while (box.children.length < windows.length) {
    box.append(copyOf("window-template"));
  }
  windows.forEach((window, position) => showWindow(box.children[position], window, prefix));
}

function showWindow(box, { used, count: limit, seconds }, prefix) {
  const span = seconds === 1 ? "second" : `${seconds} seconds`;
  const meter = box.querySelector(".meter");
  setText(box.querySelector(".title"), `Last ${span}`);
  setText(box.querySelector("b"), count(used));
  setText(box.querySelector(".limit"), ` of ${count(limit)}`);
  meter.setAttribute("aria-label", `${prefix} ${span}`);
  meter.setAttribute("aria-valuemax", limit);
  meter.setAttribute("aria-valuenow", used);
  meter.setAttribute("aria-valuetext", `${some(used, "request")} of ${count(limit)}`);
  meter.classList.toggle("near", used >= 0.9 * limit && used < limit);
  meter.classList.toggle("full", used >= limit);
  meter.firstElementChild.style.setProperty("--share", used / limit);
}

// by the sandbox's clock
const secondsNow = () => state.news.now + (performance.now() - state.heard) / 1000;

// ---- faults

function showFaults({ switches, others }) {
  const list = byId("switches");
  if (list.children.length === 1) {
    list.prepend(...switches.map(newSwitch));
  }
  switches.forEach((one, position) => showSwitch(list.children[position].firstElementChild, one));
  byId("others-box").hidden = others.length === 0;
  byId("others").replaceChildren(...others.map((words) => element("li", "", words)));
  const on = switches.filter(isOn).length + others.length;
  byId("faults-panel").classList.toggle("at-work", on > 0);
  byId("calm").disabled = on === 0;
  byId("at-work").hidden = on === 0;
  setText(byId("at-work"), `${some(on, "fault")} on`);
}

const isOn = (one) => one.struck !== null;

function newSwitch({ name, title, detail }) {
  const item = copyOf("switch-template");
  const button = item.firstElementChild;
  button.querySelector(".title").textContent = title;
  // told apart from what is seen, where a count takes turns: what changes all the time cannot be listened to
  button.setAttribute("aria-label", title);
  button.setAttribute("aria-description", detail);
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-checked") !== "true";
    button.setAttribute("aria-checked", on);
    ask("page/switch", { name, on });
  });
  return item;
}

function showSwitch(button, one) {
  button.setAttribute("aria-checked", isOn(one));
  setText(button.querySelector(".detail"), isOn(one) ? `${some(one.struck, "request")} so far` : one.detail);
}

async function leave() {
  state.awayUntil = performance.now() + 1000 * (ABSENCE + 2);
  await ask("page/leave", { seconds: ABSENCE });
  say(`The sandbox refuses connections for ${ABSENCE} seconds.`);
}

// ---- requests

const KINDS = {
  all: () => true,
  merged: (row) => row.events.length > 1 && row.items === 0,
  others: (row) => row.route !== null && row.route !== "events",
  unapplied: (row) => row.outcome === "refused" || row.outcome === "unanswered",
  lost: (row) => row.outcome === "lost",
};

function showRows() {
  const all = state.held ?? state.rows;
  const chosen = all.filter(KINDS[byId("show").value]).slice(0, MOST_ROWS);
  const shown = chosen.slice(0, state.most);
  byId("empty").hidden = all.length > 0;
  byId("list").hidden = chosen.length === 0;
  byId("none-such").hidden = chosen.length > 0 || all.length === 0;
  placeRows(byId("rows"), shown);
  setText(byId("shown"), shown.length > 0 ? listInWords(shown.length) : "");
  byId("more").hidden = chosen.length <= FEW_ROWS;
  setText(byId("more"), state.most === FEW_ROWS ? "Show more" : "Show fewer");
}

function listInWords(shown) {
  if (state.held === null) {
    return `The latest ${count(shown)} of ${count(state.news.requests)}.`;
  }
  const newer = state.news.requests - state.requestsWhenHeld;
  return `Held: ${some(newer, "newer request")} not shown.`;
}

// rows that stay are left alone, so that what is selected or has the focus stays so
function placeRows(body, rows) {
  const wanted = new Set(rows.map((row) => String(row.number)));
  const present = new Map();
  for (const element of [...body.children]) {
    if (wanted.has(element.dataset.number)) {
      present.set(element.dataset.number, element);
    } else {
      element.remove();
    }
  }
  let next = body.firstElementChild;
  for (const row of rows) {
    const element = present.get(String(row.number));
    if (element !== undefined && element === next) {
      next = next.nextElementSibling;
    } else {
      body.insertBefore(element ?? newRow(row), next);
    }
  }
}

function newRow(row) {
  const line = copyOf("row-template");
  const part = (name) => line.querySelector(name);
  line.dataset.number = row.number;
  line.dataset.outcome = row.outcome;
  const time = new Date(row.time);
  part("time").dateTime = time.toISOString();
  part("time").textContent = time.toLocaleTimeString("en-GB");
  part("[data-part=number]").textContent = `#${row.number}`;
  part(".who").append(row.player === null ? element("span", "quiet", subjectOf(row)) : playerButton(row.player));
  part(".what").append(...eventsOf(row));
  part(".badge").textContent = row.status ?? "none";
  part(".words").textContent = row.words;
  part(".took").textContent = took(row.took);
  return line;
}

function subjectOf({ route, items, job }) {
  const words = items > 0 ? [some(items, "item")] : [];
  if (job !== null) {
    words.push(`job ${job}`);
  }
  return words.join(", ") || (route === "events" || route === null ? "no player" : "no job");
}

const ASKED = { status: "status of a job", stop: "stop of a job" };

function eventsOf({ route, items, events, more }) {
  if (route in ASKED) {
    return [element("span", "quiet", ASKED[route])];
  }
  const chips = events.map((name) => element("span", "event", name));
  if (route === "preview") {
    chips.unshift(element("span", "quiet", "preview of "));
  }
  const total = events.length + more;
  if (total === 0) {
    return [element("span", "quiet", "no events")];
  }
  if (more > 0) {
    return [...chips, element("span", "merged", `and ${count(more)} more${items > 0 ? "" : ", merged"}`)];
  }
  return total === 1 || route !== "events" ? chips : [...chips, element("span", "merged", `${total} merged`)];
}

function playerButton(player) {
  const button = element("button", "", player);
  button.type = "button";
  button.title = player;
  button.addEventListener("click", () => showPlayer(player));
  return button;
}

function hold(isHeld) {
  state.held = isHeld ? state.rows : null;
  state.requestsWhenHeld = state.news?.requests ?? 0;
  byId("hold").setAttribute("aria-pressed", isHeld);
}

// ---- players

const lookAtPlayers = seldom(async () => {
  if (state.player !== null) {
    await lookAtPlayer();
    return;
  }
  const like = byId("like").value;
  const found = await look(`page/players?like=${encodeURIComponent(like)}`);
  if (found !== null && like === byId("like").value) {
    showPlayers(found, like);
  }
}, BETWEEN_LOOKS);

function showPlayers(found, like) {
  const list = byId("standings");
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.player : null;
  list.replaceChildren(...found.map(newStanding));
  if (focused !== null) {
    const again = [...list.querySelectorAll("button")].find((button) => button.dataset.player === focused);
    (again ?? byId("players-title")).focus();
  }
  byId("no-players").hidden = found.length > 0;
  const nobody = like ? "No player's id holds this." : "The players appear here, the latest active first.";
  setText(byId("no-players"), nobody);
}

function newStanding({ player, events, applied, unapplied }) {
  const item = copyOf("standing-template");
  const button = item.firstElementChild;
  button.dataset.player = player;
  button.querySelector(".id").textContent = player;
  const words = [events > 0 ? `${some(events, "event")} in ${some(applied, "request")}` : "nothing held"];
  if (unapplied > 0) {
    words.push(`${count(unapplied)} not applied`);
  }
  button.querySelector(".quiet").textContent = words.join(", ");
  button.addEventListener("click", () => showPlayer(player));
  return item;
}

async function showPlayer(player) {
  state.player = player;
  byId("all-players").hidden = true;
  byId("one-player").hidden = false;
  byId("player-name").textContent = player;
  byId("player-count").textContent = "";
  byId("held").replaceChildren();
  byId("player-name").focus();
  await lookAtPlayer();
}

async function lookAtPlayer() {
  const player = state.player;
  const found = await look(`page/player?id=${encodeURIComponent(player)}`);
  if (found === null || state.player !== player) {
    return;
  }
  const rest = found.shown < found.count ? `, the latest ${count(found.shown)} of them here` : "";
  const words = `${some(found.count, "event")} held${rest}, the latest request first.`;
  setText(byId("player-count"), found.count > 0 ? words : "Nothing is held of this player.");
  byId("held").replaceChildren(...found.requests.map(newHeld));
}

function newHeld({ number, contact, events }) {
  const item = copyOf("held-template");
  item.querySelector("b").textContent = `#${number}`;
  item.querySelector(".contact").textContent = contact;
  for (const { name, metadata } of events) {
    const line = element("li", "", "");
    line.append(element("span", "event", name), element("span", "metadata", metadata));
    item.querySelector("ul").append(line);
  }
  return item;
}

function showAllPlayers() {
  state.player = null;
  byId("one-player").hidden = true;
  byId("all-players").hidden = false;
  byId("players-title").focus();
  lookAtPlayers();
}

// ---- telling those who do not see it

const spoken = { requests: 0, at: -BETWEEN_WORDS };

function say(words) {
  byId("said").textContent = words;
}

function sayWhatArrived(news) {
  if (news.isFresh) {
    spoken.requests = news.requests;
  }
  if (news.requests > spoken.requests && performance.now() - spoken.at > BETWEEN_WORDS) {
    spoken.requests = news.requests;
    spoken.at = performance.now();
    say(`${some(news.requests, "request")}, ${some(news.events, "event")} held, ${count(news.unapplied)} not applied.`);
  }
}

// ---- the start

function chooseTheme(theme) {
  if (theme === "system") {
    delete document.documentElement.dataset.theme;
  } else {
    document.documentElement.dataset.theme = theme;
  }
  localStorage.setItem("gameball-sandbox-theme", theme);
}

function connectButtons() {
  byId("theme").value = document.documentElement.dataset.theme ?? "system";
  byId("theme").addEventListener("change", (event) => chooseTheme(event.target.value));
  byId("calm").addEventListener("click", () => ask("faults", null, "DELETE"));
  byId("leave").addEventListener("click", leave);
  byId("show").addEventListener("change", showRows);
  byId("hold").addEventListener("click", () => {
    hold(state.held === null);
    showRows();
  });
  byId("more").addEventListener("click", () => {
    state.most = state.most === FEW_ROWS ? MOST_ROWS : FEW_ROWS;
    showRows();
  });
  byId("like").addEventListener("input", lookAtPlayers);
  byId("back").addEventListener("click", showAllPlayers);
  byId("forget").addEventListener("click", () => byId("sure").showModal());
  byId("keep").addEventListener("click", () => byId("sure").close());
  byId("forget-now").addEventListener("click", () => {
    byId("sure").close();
    ask("reset", null);
  });
}

function start() {
  for (const place of [byId("address"), ...document.querySelectorAll("[data-address]")]) {
    place.textContent = location.origin;
  }
  drawMinute();
  connectButtons();
  document.addEventListener("visibilitychange", listenWhileVisible);
  setInterval(() => {
    if (state.news !== null) {
      showMinute(state.news.seconds, secondsNow());
      showJobTimes(secondsNow());
    }
  }, 1000);
  listenWhileVisible();
}

start();
