// A console that somebody leaves open: node watch.mjs BASE_URL SECONDS
//
// Looks at its tiles once a second and prints them as a line of JSON; turns the pages meanwhile. Ends with an error if the page had one.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [base, seconds] = process.argv.slice(2);
const VIEWS = 6;
const TURN_SECONDS = 10;

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
const troubles = [];

async function open() {
  const page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  page.on("pageerror", (error) => troubles.push(`error: ${error.message}`));
  page.on("console", (message) => { if (message.type() === "error") troubles.push(`console: ${message.text()}`); });
  await page.goto(base);
  await page.locator("#status").filter({ hasText: /live/ }).waitFor();
  return page;
}

const tilesOf = (page) => page.evaluate(() => Object.fromEntries(
  [...document.querySelectorAll("#tiles dt")].map((name) => [name.textContent, name.nextElementSibling.textContent]),
));

// One page stays where the tiles are, the other is leafed through.
const [overview, leafed] = [await open(), await open()];
const end = Date.now() + Number(seconds) * 1_000;
for (let turn = 0; Date.now() < end; turn += 1) {
  const status = await overview.locator("#status").innerText();
  if (status !== "live") troubles.push(`the page says "${status}"`);
  console.log(JSON.stringify({ at: Date.now() / 1_000, ...await tilesOf(overview) }));
  if (turn % TURN_SECONDS === 0) await leafed.keyboard.press(String(1 + ((turn / TURN_SECONDS) % VIEWS)));
  await overview.waitForTimeout(1_000);
}
await browser.close();
assert.deepEqual(troubles, []);
