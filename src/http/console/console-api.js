// What the page knows of the server: one call for everything, POST /query.

const TOKEN = "omendb-token";

// What the server has answered instead of a result.
export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `the server answered ${status}`);
    Object.assign(this, { status, sqlstate: error?.sqlstate, detail: error?.detail, hint: error?.hint, position: error?.position });
  }
}

async function post(path, headers, body) {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body, cache: "no-store" });
  const told = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, told?.error);
  return told;
}

function authorization() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

// The result of one statement.
export function query(sql, params = []) {
  return post("/query", authorization(), JSON.stringify({ sql, params }));
}

// The results of several, by name, as rows of objects.
export async function look(statements) {
  const names = Object.keys(statements);
  const body = JSON.stringify({ statements: names.map((name) => ({ sql: statements[name] })), timeout_ms: 10_000 });
  const told = await post("/query", authorization(), body);
  const results = names.length === 1 ? [told] : told.results;
  return Object.fromEntries(names.map((name, index) => [name, objects(results[index])]));
}

export function objects({ columns, rows }) {
  return rows.map((row) => Object.fromEntries(columns.map(({ name }, index) => [name, row[index]])));
}

export async function logIn(user, password) {
  const bytes = new TextEncoder().encode(`${user}:${password}`);
  const basic = btoa(String.fromCharCode(...bytes));
  const { token } = await post("/login", { Authorization: `Basic ${basic}` }, "");
  sessionStorage.setItem(TOKEN, token);
}

export function logOut() {
  sessionStorage.removeItem(TOKEN);
}

export async function health() {
  return (await fetch("/health", { cache: "no-store" })).json();
}
