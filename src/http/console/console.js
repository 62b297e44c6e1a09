// The console: asks the server once a second and shows what it tells.

import { Refused, health, logIn, logOut, look, query } from "/console-api.js";
import * as sql from "/console-sql.js";
import { element } from "/console-table.js";
import { VIEWS } from "/console-views.js";

const PERIOD_MS = 1_000;
const SAMPLES_MAX = 300;
const SAMPLE = {
  metrics: "SELECT name, core, value FROM omendb_metrics",
  buckets: "SELECT core, upper_us, count FROM omendb_latency_buckets",
};

const find = (id) => document.getElementById(id);

// Metrics by name; the sum over labels, of one core or of all.
class Metrics {
  constructor(rows) {
    this.byName = new Map();
    for (const { name, core, value } of rows) {
      if (!this.byName.has(name)) this.byName.set(name, []);
      this.byName.get(name).push({ core, value: Number(value) });
    }
  }

  sum(name, core = null) {
    const samples = this.byName.get(name) ?? [];
    return samples.filter((sample) => core === null || sample.core === core).reduce((total, sample) => total + sample.value, 0);
  }
}

// The samples of the last minutes, and what lies between them.
class History {
  constructor() {
    this.samples = [];
  }

  add(rows) {
    const buckets = new Map();
    for (const { core, upper_us, count } of rows.buckets) {
      if (!buckets.has(core)) buckets.set(core, new Map());
      buckets.get(core).set(Number(upper_us), count);
    }
    const metrics = new Metrics(rows.metrics);
    this.samples.push({ at: performance.now(), metrics, buckets, cores: metrics.sum("omendb_cores") });
    if (this.samples.length > SAMPLES_MAX) this.samples.shift();
  }

  at(index) {
    return this.samples.at(index);
  }

  // How fast a counter grows, a second. A server that was started anew counts anew.
  rate(name, core = null) {
    const [before, now] = this.samples.slice(-2);
    if (!now) return 0;
    return Math.max(0, now.metrics.sum(name, core) - before.metrics.sum(name, core)) / ((now.at - before.at) / 1_000);
  }

  // What has come between two samples, by bucket.
  between(before, now, core) {
    const counts = new Map();
    for (const [of, buckets] of now.buckets) {
      if (core !== null && of !== core) continue;
      for (const [upper, count] of buckets) {
        const come = count - (before.buckets.get(of)?.get(upper) ?? 0);
        if (come > 0) counts.set(upper, (counts.get(upper) ?? 0) + come);
      }
    }
    return counts;
  }

  // A column for each second.
  columns(core = null) {
    return this.samples.slice(1).map((now, index) => this.between(this.samples[index], now, core));
  }

  // Statements a second of a core, second by second.
  counts(core) {
    return this.samples.slice(1).map((now, index) => {
      const before = this.samples[index];
      const come = [...this.between(before, now, core).values()].reduce((total, count) => total + count, 0);
      return come / ((now.at - before.at) / 1_000);
    });
  }

  // By bucket, what has come in the last seconds.
  window(seconds, core = null) {
    const kept = this.samples.slice(-seconds - 1);
    return kept.length > 1 ? this.between(kept[0], kept.at(-1), core) : new Map();
  }
}

const history = new History();
let view = VIEWS[0];
let paused = false;
let latest = null;
let polling = false;

function say(text, bad = false) {
  // What has not changed is not read out again.
  if (find("status").textContent !== text) find("status").textContent = text;
  find("status").classList.toggle("bad", bad);
}

function show() {
  if (latest && (view.id !== "overview" || history.samples.length)) view.show({ ...latest, history });
}

async function poll() {
  if (polling || paused || document.hidden || find("login").open) return;
  polling = true;
  const asked = view;
  try {
    const rows = await look({ ...SAMPLE, ...asked.statements });
    history.add(rows);
    if (asked === view) {
      latest = rows;
      show();
    }
    say("live");
  } catch (error) {
    refused(error);
  } finally {
    polling = false;
  }
}

function refused(error) {
  if (error instanceof Refused && error.status === 401) askWho(error);
  else if (error instanceof Refused) say(`the server says: ${error.message}`, true);
  else say("the server is not reachable", true);
}

function askWho(error) {
  if (find("login").open) return;
  const tried = sessionStorage.length > 0;
  logOut();
  find("login-error").textContent = tried ? error.message : "";
  find("login-error").hidden = !tried;
  say("log in to go on");
  find("login").showModal();
}

async function submitLogin(event) {
  event.preventDefault();
  try {
    await logIn(find("login-user").value, find("login-password").value);
    find("login-password").value = "";
    find("login-error").hidden = true;
    find("login").close();
    poll();
  } catch (error) {
    find("login-error").textContent = error.message;
    find("login-error").hidden = false;
  }
}

function choose(id, focus = false) {
  view = VIEWS.find((candidate) => candidate.id === id) ?? VIEWS[0];
  latest = null;
  for (const { id: other } of VIEWS) {
    const chosen = other === view.id;
    find(other).hidden = !chosen;
    find(`tab-${other}`).ariaSelected = String(chosen);
    find(`tab-${other}`).tabIndex = chosen ? 0 : -1;
  }
  window.history.replaceState(null, "", `#${view.id}`);
  if (focus) find(`tab-${view.id}`).focus();
  poll();
}

function buildTabs() {
  find("tabs").replaceChildren(...VIEWS.map(({ id, title }, index) => {
    const tab = element("button", { id: `tab-${id}`, type: "button", role: "tab", textContent: title, title: `${title} (${index + 1})` });
    tab.dataset.testid = `tab-${id}`;
    tab.setAttribute("aria-controls", id);
    tab.addEventListener("click", () => choose(id));
    return tab;
  }));
  find("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) choose(VIEWS[(VIEWS.indexOf(view) + step + VIEWS.length) % VIEWS.length].id, true);
  });
}

function keys(event) {
  const writing = event.target.closest("input, textarea, select, dialog");
  if (writing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key >= "1" && event.key <= String(VIEWS.length)) choose(VIEWS[Number(event.key) - 1].id, true);
  else if (event.key === "p") pause();
  else if (event.key === "?") find("keys").showModal();
  else if (event.key === "/") {
    event.preventDefault();
    choose("sql");
    find("sql-text").focus();
  }
}

function pause() {
  paused = !paused;
  find("pause").ariaPressed = String(paused);
  say(paused ? "paused" : "live");
}

function theme(chosen) {
  if (chosen) document.documentElement.dataset.theme = chosen;
  show();
}

function nextTheme() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  localStorage.setItem("omendb-theme", dark ? "light" : "dark");
  theme(localStorage.getItem("omendb-theme"));
}

async function tellServer() {
  const { version, cores, status } = await health();
  find("server").textContent = `${version}, ${cores} cores, ${status}`;
}

buildTabs();
sql.start(refused);
theme(localStorage.getItem("omendb-theme"));
find("theme").addEventListener("click", nextTheme);
find("pause").addEventListener("click", pause);
find("help").addEventListener("click", () => find("keys").showModal());
find("login-form").addEventListener("submit", submitLogin);
find("heat-core").addEventListener("change", show);
find("curve-table").addEventListener("change", show);
find("reset").addEventListener("click", () => query("SELECT omendb_reset_latency()").then(poll, refused));
document.addEventListener("keydown", keys);
document.addEventListener("visibilitychange", poll);
addEventListener("resize", show);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
setInterval(poll, PERIOD_MS);
tellServer().catch(refused);
choose(location.hash.slice(1));
