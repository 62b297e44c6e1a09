// The console in a headless Chromium against a running server: node run.mjs BASE_URL SCREENSHOT_DIRECTORY
//
// Each test gets a page of its own, so that none depends on what another has left. CHROMIUM names the browser.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [base, directory] = process.argv.slice(2);
const TABS = ["overview", "latency", "indexes", "tablets", "log", "sessions", "sql"];
const DESK = { width: 1280, height: 900 };
const PHONE = { width: 360, height: 740 };

async function run(sql) {
  const answer = await fetch(new URL("/query", base), {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ sql, timeout_ms: 120_000 }),
  });
  const told = await answer.json();
  assert.ok(answer.ok, `${sql}: ${JSON.stringify(told)}`);
  return told;
}

// Statements without a pause, until `over` is called.
function load() {
  let going = true;
  const worker = async (seed) => {
    for (let number = seed; going; number = (number * 48271) % 19_997) await run(`SELECT v FROM console_demo WHERE id = ${number + 1}`);
  };
  const workers = [1, 2, 3, 4].map(worker);
  return async () => { going = false; await Promise.all(workers); };
}

const tests = [];
const test = (name, body, options = {}) => tests.push({ name, body, options });
const shown = (page, id) => page.getByTestId(id);
const shot = (page, name) => page.screenshot({ path: join(directory, `${name}.png`), fullPage: true });

// How many different colours a canvas has: one, when nothing is drawn.
const colours = (page, id) => shown(page, id).evaluate((canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const found = new Set();
  for (let at = 0; at < data.length; at += 4) found.add(data.slice(at, at + 4).join());
  return found.size;
});

// The contrast of an element's text with what is behind it (WCAG 2.2, 1.4.3).
const contrast = (page, selector) => page.locator(selector).first().evaluate((element) => {
  const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = numbers(colour).map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let behind = element;
  while (behind.parentElement && numbers(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const [a, b] = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(light);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
});

test("every view is reached by its key, and by arrows", async (page) => {
  for (const [index, id] of TABS.entries()) {
    await page.keyboard.press(String(index + 1));
    await page.locator(`#${id}`).waitFor({ state: "visible" });
    assert.equal(await page.locator("[role=tabpanel]:visible").count(), 1);
    assert.equal(await page.locator(`#tab-${id}`).getAttribute("aria-selected"), "true");
  }
  await page.keyboard.press("ArrowRight");
  await page.locator("#overview").waitFor({ state: "visible" });
  await page.keyboard.press("?");
  await page.locator("#keys").waitFor({ state: "visible" });
});

test("tiles, heat map and curves move under load", async (page) => {
  const over = load();
  try {
    await page.waitForFunction(() => Number.parseFloat(document.querySelector("[data-testid=statements]")?.textContent) > 20, null, { timeout: 20_000 });
    await page.waitForTimeout(12_000);
    for (const id of ["throughput", "heat", "curve", "busy"]) assert.ok(await colours(page, id) > 3, `${id} is drawn`);
    const label = await shown(page, "heat").getAttribute("aria-label");
    assert.match(label, /half within [\d.]+ (µs|ms)/, label);
    await shot(page, "load");
  } finally {
    await over();
  }
});

test("latencies, stages and slow statements are told, and start over", async (page) => {
  await run("SELECT pg_sleep(0.2)");
  await page.keyboard.press("2");
  await shown(page, "slow").getByText("pg_sleep(0.2)").first().waitFor();
  await shown(page, "by-stage").getByText("execute").first().waitFor();
  assert.ok(await shown(page, "slow").locator(".stack i").count() > 0, "stages are bars");
  await shown(page, "reset").click();
  await shown(page, "slow").getByText("pg_sleep(0.2)").first().waitFor({ state: "detached" });
});

test("the picture of an index is drawn", async (page) => {
  await page.keyboard.press("3");
  await shown(page, "index-health").getByText("console_demo").waitFor();
  await shown(page, "curve-table").selectOption({ label: "public.console_demo" });
  await page.waitForFunction(() => /[1-9]\d* keys/.test(document.querySelector("[data-testid=picture]").ariaLabel));
  assert.ok(await colours(page, "picture") > 3, "the picture is drawn");
  await shot(page, "indexes");
});

test("tablets, log, sessions", async (page) => {
  await page.keyboard.press("4");
  await shown(page, "tablet-list").getByText("public.console_demo").first().waitFor();
  await page.keyboard.press("5");
  await shown(page, "wal").locator("tbody tr").first().waitFor();
  await page.keyboard.press("6");
  await shown(page, "session-list").getByText("pg_stat_activity").first().waitFor();
});

test("a statement runs, fails with its SQLSTATE, and is explained as a tree", async (page) => {
  await page.keyboard.press("/");
  await page.keyboard.type("SELECT id, v FROM console_demo ORDER BY id LIMIT 300");
  await page.keyboard.press("Control+Enter");
  await shown(page, "sql-note").getByText("SELECT 300").waitFor();
  assert.equal(await shown(page, "sql-result").locator("tbody tr").count(), 200);
  await shown(page, "sql-result").getByRole("button").click();
  assert.equal(await shown(page, "sql-result").locator("tbody tr").count(), 300);
  await shown(page, "sql-text").fill("SELECT nothing FROM console_demo");
  await shown(page, "sql-run").click();
  await shown(page, "sql-error").getByText("42703").waitFor();
  assert.doesNotMatch(await page.locator("#status").innerText(), /nothing/, "the page itself is well");
  await shown(page, "sql-text").fill("SELECT v, count(*) FROM console_demo WHERE id > 5 GROUP BY v ORDER BY v");
  await shown(page, "sql-analyze").click();
  await shown(page, "sql-result").locator(".tree ul li").first().waitFor();
  assert.ok(await shown(page, "sql-result").locator("summary").count() >= 2, "nodes are nested");
  await shot(page, "sql");
}, { expects: /status of 400/ });

test("rows are text, not markup", async (page) => {
  await page.keyboard.press("/");
  await page.keyboard.type("SELECT '<img src=x onerror=document.title=1>' AS v");
  await page.keyboard.press("Control+Enter");
  await shown(page, "sql-result").getByText("<img src=x").waitFor();
  assert.equal(await page.locator("#sql-result img").count(), 0);
});

test("it pauses, and says when the server is out of reach", async (page) => {
  await page.getByText("live", { exact: true }).waitFor();
  await page.keyboard.press("p");
  await page.getByText("paused", { exact: true }).waitFor();
  await page.keyboard.press("p");
  await page.route("**/query", (route) => route.abort());
  await page.getByText("the server is not reachable").waitFor();
  await page.unroute("**/query");
  await page.getByText("live", { exact: true }).waitFor();
}, { expects: /ERR_FAILED/ });

test("who is not known is asked to log in", async (page) => {
  const refusal = { error: { sqlstate: "28000", message: "who are you?" } };
  let known = false;
  await page.route("**/query", (route) => {
    // The server itself has not given this token.
    const { authorization, ...headers } = route.request().headers();
    return known ? route.continue({ headers }) : route.fulfill({ status: 401, json: refusal });
  });
  await page.route("**/login", (route) => { known = true; return route.fulfill({ json: { token: "t", user: "alice", expires_at: 1 } }); });
  await page.locator("#login").waitFor({ state: "visible" });
  await shown(page, "login-user").fill("alice");
  await shown(page, "login-password").fill("wonder");
  await shown(page, "login-submit").click();
  await page.locator("#login").waitFor({ state: "hidden" });
  assert.equal(await page.evaluate(() => sessionStorage.getItem("omendb-token")), "t");
}, { expects: /status of 401/ });

for (const scheme of ["light", "dark"]) {
  test(`text can be read in the ${scheme} theme`, async (page) => {
    await page.locator("[data-testid=statements]").waitFor();
    for (const selector of ["h1", ".quiet", "#tab-overview", "#tab-latency", ".tiles dt", ".tiles dd", "figcaption", "#pause"]) {
      const found = await contrast(page, selector);
      assert.ok(found >= 4.5, `${selector} has a contrast of ${found.toFixed(2)}`);
    }
    const over = load();
    await page.waitForTimeout(6_000);
    await shot(page, scheme);
    await over();
    await shown(page, "theme").click();
    assert.equal(await page.locator("html").getAttribute("data-theme"), scheme === "dark" ? "light" : "dark");
  }, { scheme });
}

test("on a phone nothing is wider than the page", async (page) => {
  for (const [index, id] of TABS.entries()) {
    await page.keyboard.press(String(index + 1));
    await page.locator(`#${id}`).waitFor({ state: "visible" });
    await page.waitForTimeout(1_500);
    const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(content <= window, `${id} is ${content} wide on a page of ${window}`);
  }
  await page.keyboard.press("1");
  await page.locator("[data-testid=statements]").waitFor();
  await shot(page, "phone");
}, { viewport: PHONE });

async function runOne(browser, { name, body, options }) {
  const context = await browser.newContext({ viewport: options.viewport ?? DESK, colorScheme: options.scheme ?? "light" });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const troubles = [];
  const host = new URL(base).host;
  page.on("pageerror", (error) => troubles.push(`error: ${error.message}`));
  page.on("console", (message) => { if (message.type() === "error" && !options.expects?.test(message.text())) troubles.push(`console: ${message.text()}`); });
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && url.host !== host) troubles.push(`a request to ${request.url()}`);
  });
  try {
    await page.goto(base);
    await page.locator("#status").filter({ hasText: /live/ }).or(page.locator("#login[open]")).first().waitFor();
    await body(page);
    assert.deepEqual(troubles, []);
  } catch (error) {
    await page.screenshot({ path: join(directory, "failed.png") });
    throw error;
  } finally {
    await context.close();
    console.log(`ran: ${name}`);
  }
}

mkdirSync(directory, { recursive: true });
await run("CREATE TABLE IF NOT EXISTS console_demo (id int PRIMARY KEY, v text)");
await run("DELETE FROM console_demo");
// Keys that are not evenly spread, so that there is something to see.
await run("INSERT INTO console_demo SELECT (i * 1.0 * i / 20000)::int + i, 'v' || i % 10 FROM generate_series(1, 20000) AS i");
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
let failed = 0;
for (const one of tests) {
  try {
    await runOne(browser, one);
  } catch (error) {
    failed += 1;
    console.error(`FAILED: ${one.name}\n${error.stack}`);
  }
}
await browser.close();
console.log(`${tests.length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
