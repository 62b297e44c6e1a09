// The views that show what the server tells, each with the statements it needs and a function that shows their rows.

import * as charts from "/console-charts.js";
import { element, table } from "/console-table.js";

const { amount, bytes, duration } = charts;
const STAGES = ["receive", "queue", "parse", "plan", "execute", "lock_wait", "log_wait", "send"];
const SPAN = 60;

const find = (id) => document.getElementById(id);
const number = (title, value) => ({ title, value, number: true });
const plain = (title, value = (row) => row[title]) => ({ title, value });
const PERCENTILES = ["mean", "p50", "p90", "p99", "p999", "p9999", "p99999", "max"];
const latencyColumns = PERCENTILES.map((name) => number(name.replace(/^p(99)(9+)$/, "p$1.$2"), (row) => duration(row[`${name}_us`])));

function legend(place, names) {
  place.replaceChildren(...names.map((name, index) => {
    const mark = element("i");
    mark.style.background = charts.series(index);
    return element("span", {}, mark, name);
  }));
}

function sum(rows, key) {
  return rows.reduce((total, row) => total + (row[key] ?? 0), 0);
}

function grouped(rows, key) {
  const groups = new Map();
  for (const row of rows) groups.set(key(row), [...(groups.get(key(row)) ?? []), row]);
  return groups;
}

// Metrics of the last sample, and how they have changed since the one before.
function overview({ history }) {
  const now = history.at(-1);
  const ten = history.window(10);
  const heat = find("heat-core");
  if (heat.options.length !== now.cores + 1) {
    const cores = Array.from({ length: now.cores }, (_, core) => element("option", { value: core, textContent: core }));
    heat.replaceChildren(element("option", { value: "all", textContent: "all" }), ...cores);
  }
  const latest = (name) => now.metrics.sum(name);
  const tiles = [
    ["statements/s", amount(history.rate("omendb_sql_queries_total")), "statements"],
    ["p50", duration(charts.percentile(ten, 50))],
    ["p99", duration(charts.percentile(ten, 99))],
    ["p99.9", duration(charts.percentile(ten, 99.9))],
    ["errors/s", amount(history.rate("omendb_sql_query_errors_total"))],
    ["commits/s", amount(history.rate("omendb_transactions_committed_total"))],
    ["connections", amount(latest("omendb_connections_active"))],
    ["waiting for locks", amount(latest("omendb_lock_waiters"))],
    ["database", bytes(latest("omendb_database_size_bytes"))],
    ["memory", bytes(latest("process_resident_memory_bytes"))],
    ["log to replay", bytes(latest("omendb_wal_held_bytes"))],
    ["up", `${Math.floor(latest("omendb_uptime_seconds") / 60)} min`],
  ];
  find("tiles").replaceChildren(...tiles.map(([name, value, key]) => {
    const shown = element("dd", { textContent: value });
    if (key) shown.dataset.testid = key;
    return element("div", {}, element("dt", { textContent: name }), shown);
  }));
  const names = Array.from({ length: now.cores }, (_, core) => `core ${core}`);
  legend(find("throughput-legend"), names);
  charts.lines(find("throughput"), names.map((_, core) => history.counts(core)), SPAN);
  find("throughput").ariaLabel = `Statements a second by core: ${names.map((name, core) => `${name} ${amount(history.counts(core).at(-1))}`).join(", ")}`;
  const chosen = heat.value;
  charts.heat(find("heat"), history.columns(chosen === "all" ? null : Number(chosen)), SPAN);
  find("heat").ariaLabel = `Latency over the last ${SPAN} seconds; half within ${tiles[1][1]}, 99 in 100 within ${tiles[2][1]}`;
  legend(find("curve-legend"), ["all cores", ...names]);
  charts.percentiles(find("curve"), [ten, ...names.map((_, core) => history.window(10, core))]);
  find("curve").ariaLabel = `Latency by percentile: 50 ${tiles[1][1]}, 99 ${tiles[2][1]}, 99.9 ${tiles[3][1]}`;
  const busy = names.map((_, core) => history.rate("omendb_executor_busy_seconds_total", core));
  charts.bars(find("busy"), busy);
  find("busy").ariaLabel = busy.map((share, core) => `core ${core}: ${Math.round(share * 100)} percent`).join(", ");
}

function stack(row) {
  const bar = element("span", { className: "stack", role: "img" });
  const told = [];
  STAGES.forEach((stage, index) => {
    const us = row[`${stage}_us`];
    if (!us) return;
    const part = element("i");
    part.style.background = charts.series(index);
    part.style.width = `${(100 * us) / row.duration_us}%`;
    told.push(`${stage} ${duration(us)}`);
    bar.append(part);
  });
  bar.title = told.join(", ");
  bar.ariaLabel = bar.title;
  return bar;
}

function latency({ types, stages, slow }) {
  const count = number("count", (row) => amount(row.count));
  table(find("by-type"), [plain("statement", (row) => row.query_type), number("core", (row) => row.core), count, ...latencyColumns], types);
  table(find("by-stage"), [plain("stage"), number("core", (row) => row.core), count, ...latencyColumns], stages);
  legend(find("stage-legend"), STAGES.map((stage) => stage.replace("_", " ")));
  table(find("slow"), [
    number("took", (row) => duration(row.duration_us)),
    plain("stages", stack),
    number("rows", (row) => amount(row.rows)),
    number("core", (row) => row.core),
    plain("role", (row) => row.usename),
    plain("ended", (row) => row.finished_at.slice(0, 19)),
    { title: "statement", value: (row) => row.query, text: true },
  ], slow);
}

function indexes({ tablets, curve }) {
  const health = [...grouped(tablets, (row) => `${row.schemaname}.${row.relname}`)].map(([name, rows]) => {
    const [hits, misses] = [sum(rows, "hits"), sum(rows, "misses")];
    const errors = rows.filter((row) => row.mean_error != null);
    const looked = sum(errors, "lookups");
    return {
      name, tablets: rows.length, rows: sum(rows, "rows"), depth: Math.max(...rows.map((row) => row.depth)), leaves: sum(rows, "leaves"),
      fill: sum(rows.map((row) => ({ part: row.fill * row.rows })), "part") / Math.max(sum(rows, "rows"), 1),
      error: looked ? errors.reduce((total, row) => total + row.mean_error * row.lookups, 0) / looked : null,
      hits: hits + misses ? hits / (hits + misses) : null, changes: sum(rows, "structural_changes"), bytes: sum(rows, "index_bytes"),
    };
  });
  const percent = (share) => (share == null ? "–" : `${(share * 100).toFixed(1)} %`);
  table(find("index-health"), [
    plain("table", (row) => row.name), number("tablets", (row) => row.tablets), number("rows", (row) => amount(row.rows)),
    number("depth", (row) => row.depth), number("leaves", (row) => amount(row.leaves)), number("fill", (row) => percent(row.fill)),
    number("mean error", (row) => (row.error == null ? "–" : row.error.toFixed(2))), number("within a cache line", (row) => percent(row.hits)),
    number("structural changes", (row) => amount(row.changes)), number("index", (row) => bytes(row.bytes)),
  ], health, "there are no tables");
  const chosen = find("curve-table");
  const names = health.map((row) => row.name);
  if ([...chosen.options].map((option) => option.value).join() !== names.join()) {
    const before = chosen.value;
    chosen.replaceChildren(...names.map((name) => element("option", { value: name, textContent: name })));
    if (names.includes(before)) chosen.value = before;
  }
  const points = curve.filter((row) => `${row.schemaname}.${row.relname}` === chosen.value);
  const shown = [...grouped(points, (row) => row.tablet).values()];
  charts.picture(find("picture"), shown);
  find("curve-note").textContent = `${shown.length} tablets; dots: where keys are; lines: where the models expect them`;
  find("picture").ariaLabel = `${chosen.value}: ${points.length} keys of ${shown.length} tablets against their positions`;
}

// Look-ups of the time before, by tablet.
let looked = new Map();

function tablets({ tablets: rows }) {
  const now = performance.now();
  for (const row of rows) {
    const before = looked.get(row.tablet);
    row.load = before ? Math.max(0, (row.lookups - before.lookups) / ((now - before.at) / 1_000)) : null;
  }
  looked = new Map(rows.map((row) => [row.tablet, { lookups: row.lookups, at: now }]));
  const cores = [...grouped(rows, (row) => row.core)].sort(([a], [b]) => a - b).map(([core, of]) => ({
    core, tablets: of.length, rows: sum(of, "rows"), bytes: sum(of, "index_bytes") + sum(of, "row_bytes"), load: sum(of, "load"),
  }));
  const load = number("look-ups/s", (row) => amount(row.load));
  table(find("tablet-cores"), [
    number("core", (row) => row.core), number("tablets", (row) => row.tablets), number("rows", (row) => amount(row.rows)),
    number("memory", (row) => bytes(row.bytes)), load,
  ], cores);
  table(find("tablet-list"), [
    plain("table", (row) => `${row.schemaname}.${row.relname}`), number("core", (row) => row.core), number("tablet", (row) => row.tablet),
    plain("from", (row) => row.lower_key ?? "–∞"), plain("to", (row) => row.upper_key ?? "∞"), number("rows", (row) => amount(row.rows)),
    number("versions", (row) => amount(row.versions)), number("index", (row) => bytes(row.index_bytes)),
    number("rows' memory", (row) => bytes(row.row_bytes)), load,
  ], rows, "there are no tables");
}

function log({ history }) {
  const { metrics, cores } = history.at(-1);
  const of = (name, core) => metrics.sum(name, core);
  const rows = Array.from({ length: cores }, (_, core) => ({ core }));
  const mean = (name, core) => {
    const [total, count] = [history.rate(`${name}_sum`, core), history.rate(`${name}_count`, core)];
    return count ? duration((total / count) * 1e6) : "–";
  };
  const core = number("core", (row) => row.core);
  table(find("wal"), [
    core, number("written/s", (row) => bytes(history.rate("omendb_wal_bytes_total", row.core))),
    number("writes/s", (row) => amount(history.rate("omendb_wal_writes_total", row.core))),
    number("a write and sync", (row) => mean("omendb_wal_sync_duration_seconds", row.core)),
    number("not yet durable", (row) => bytes(of("omendb_wal_backlog_bytes", row.core))),
    number("a restart reads", (row) => bytes(of("omendb_wal_held_bytes", row.core))),
    number("disk full", (row) => of("omendb_wal_disk_full_total", row.core)),
  ], rows);
  table(find("checkpoints"), [
    core, number("finished", (row) => of("omendb_checkpoints_total", row.core)), number("given up", (row) => of("omendb_checkpoint_failures_total", row.core)),
    plain("now", (row) => (of("omendb_checkpoint_running", row.core) ? "running" : "none")),
    number("through timestamp", (row) => amount(of("omendb_checkpoint_last_timestamp", row.core))),
    number("age", (row) => duration(of("omendb_checkpoint_age_seconds", row.core) * 1e6)),
    number("rows written", (row) => amount(of("omendb_checkpoint_rows_total", row.core))),
  ], rows);
}

function sessions({ active, locks }) {
  table(find("session-list"), [
    number("pid", (row) => row.pid), plain("role", (row) => row.usename), plain("program", (row) => row.application_name),
    plain("client", (row) => row.client_addr), plain("state"), plain("waits for", (row) => row.wait_event),
    plain("since", (row) => row.state_change?.slice(11, 19)), { title: "statement", value: (row) => row.query, text: true },
  ], active);
  table(find("lock-list"), [
    number("pid", (row) => row.pid), plain("kind", (row) => row.locktype), plain("of", (row) => row.relname), plain("mode"),
    plain("has it", (row) => (row.granted ? "yes" : "waits")), plain("waits since", (row) => row.waitstart?.slice(11, 19)),
  ], locks, "no locks");
}

const TABLETS = "SELECT * FROM omendb_tablets ORDER BY schemaname, relname, lower_key IS NOT NULL, core, tablet";

export const VIEWS = [
  { id: "overview", title: "Overview", statements: {}, show: overview },
  {
    id: "latency", title: "Latency", show: latency,
    statements: {
      types: "SELECT * FROM omendb_core_latency ORDER BY query_type, core",
      stages: "SELECT * FROM omendb_stage_latency ORDER BY core",
      slow: "SELECT * FROM omendb_slow_statements ORDER BY duration_us DESC LIMIT 50",
    },
  },
  { id: "indexes", title: "Indexes", show: indexes, statements: { tablets: TABLETS, curve: "SELECT * FROM omendb_index_curve ORDER BY tablet, position" } },
  { id: "tablets", title: "Tablets", show: tablets, statements: { tablets: TABLETS } },
  { id: "log", title: "Log & checkpoints", statements: {}, show: log },
  {
    id: "sessions", title: "Sessions", show: sessions,
    statements: {
      active: "SELECT pid, usename, application_name, client_addr, state, wait_event, state_change::text, query FROM pg_stat_activity ORDER BY pid",
      locks: "SELECT l.pid, l.locktype, c.relname, l.mode, l.granted, l.waitstart::text FROM pg_locks AS l LEFT JOIN pg_class AS c ON c.oid = l.relation ORDER BY l.granted, l.pid LIMIT 500",
    },
  },
  { id: "sql", title: "SQL", statements: {}, show: () => {} },
];
