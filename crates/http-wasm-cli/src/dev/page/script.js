"use strict";

// Shows /state and /exchange/ID. All text is set through textContent, since guests and clients control it.

const PERIOD = 700;
const TOKEN = document.querySelector('meta[name="token"]').content;

let version = null;
let paused = false;
let selected = null;
/** Whether what is shown of the selected exchange is all that there will be. */
let complete = false;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function fill(id, ...children) {
  document.getElementById(id).replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

function size(bytes) {
  const units = ["B", "KiB", "MiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) { bytes /= 1024; unit += 1; }
  return `${Number(bytes.toPrecision(3))} ${units[unit]}`;
}

function time(milliseconds) {
  if (milliseconds === null) return "in progress";
  return milliseconds < 1 ? `${(milliseconds * 1000).toFixed(0)} µs` : `${Number(milliseconds.toPrecision(3))} ms`;
}

function clock(at) {
  return new Date(at).toLocaleTimeString("en-GB");
}

function outcome({ status, next_status, passed_on, failed }) {
  if (failed) return ["guest failed", "bad"];
  if (!passed_on) return [status === null ? "–" : "by the guest", ""];
  return [next_status === null ? "no response" : `next handler: ${next_status}`, ""];
}

function list(exchanges) {
  if (exchanges.length === 0) {
    return element("p", { class: "quiet empty" }, "None yet. Send a request to the server.");
  }
  const heads = ["#", "Time", "Method", "Target", "Status", "Response", "Took"];
  const rows = exchanges.map((exchange) => {
    const [from, kind] = outcome(exchange);
    const open = element("button", { class: "link", type: "button", "aria-label": `Show exchange ${exchange.id}` }, String(exchange.id));
    const again = exchange.replay_of === null ? null : element("span", { class: "quiet" }, ` again #${exchange.replay_of}`);
    const row = element("tr", exchange.id === selected ? { class: "selected", "aria-current": "true" } : {},
      element("th", { scope: "row" }, open, again),
      element("td", {}, clock(exchange.at)),
      element("td", {}, exchange.method ?? "–"),
      element("td", { class: "target" }, exchange.target ?? "–"),
      element("td", {}, exchange.status === null ? "–" : String(exchange.status)),
      element("td", {}, kind ? element("span", { class: `pill ${kind}` }, from) : from),
      element("td", { class: "number" }, time(exchange.took_ms)));
    row.dataset.id = exchange.id;
    row.addEventListener("click", () => select(exchange.id));
    return row;
  });
  return element("table", {},
    element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, ...rows));
}

/** The fields that only one of two messages has, by their text. */
function different(fields, others) {
  const known = new Map();
  for (const field of others) known.set(field.join("\n"), (known.get(field.join("\n")) ?? 0) + 1);
  return fields.map((field) => {
    const left = known.get(field.join("\n")) ?? 0;
    known.set(field.join("\n"), left - 1);
    return left <= 0;
  });
}

function fields(own, other) {
  const marks = other ? different(own, other) : own.map(() => false);
  return element("ul", { class: "fields" }, ...own.map(([name, value], index) =>
    element("li", marks[index] ? { class: "changed" } : {}, element("span", { class: "name" }, name), `: ${value}`)));
}

function message(title, own, other, missing) {
  if (!own) return element("article", { class: "card message" }, element("h4", {}, title), element("p", { class: "quiet" }, missing));
  const changed = (is) => (is ? " changed" : "");
  const whole = own.shown < own.size ? element("p", { class: "quiet" }, `The first ${size(own.shown)} of ${size(own.size)} are shown.`) : null;
  return element("article", { class: "card message" },
    element("h4", {}, title),
    element("p", { class: `line${changed(other && other.line !== own.line)}` }, own.line),
    fields(own.headers, other?.headers),
    own.body ? element("pre", { class: changed(other && other.body !== own.body).trim(), tabindex: 0 }, own.body) : null,
    whole,
    own.trailers.length ? element("p", { class: "quiet" }, "Trailers") : null,
    own.trailers.length ? fields(own.trailers, other?.trailers) : null,
    own.broken ? element("p", { class: "bad-text" }, `The body ended prematurely: ${own.broken}`) : null);
}

function trace(entries) {
  return entries.flatMap(({ kind, text, note, failed }) => [
    element("li", { class: `${kind}${failed ? " failed" : ""}` }, text),
    note ? element("li", { class: "note" }, `note: ${note}`) : null,
  ]).filter((line) => line !== null);
}

function failure(error) {
  if (!error) return [];
  const text = [error.message, error.backtrace, error.stderr ? `stderr:\n${error.stderr}` : null];
  return [element("div", { class: "panel banner" }, element("p", {}, element("strong", {}, "The guest failed")),
    element("pre", { tabindex: 0 }, text.filter((part) => part).join("\n\n")))];
}

function show(exchange) {
  document.getElementById("detail").hidden = false;
  fill("detail-title", `Exchange ${exchange.id}`);
  fill("error", ...failure(exchange.error));
  const { client, next } = exchange;
  fill("request",
    message("As the client sent it", client.request, next.request, "not known"),
    message("As the next handler got it", next.request, client.request, "The next handler got no request."));
  fill("response",
    message("As the next handler gave it", next.response, client.response,
      next.request ? "The next handler gave no response." : "The guest answered the request itself."),
    message("As the client gets it", client.response, next.response, "There is no response."));
  fill("trace", ...trace(exchange.trace));
  complete = exchange.took_ms !== null;
}

async function load() {
  if (selected === null || complete) return;
  const id = selected;
  const answer = await fetch(`/exchange/${id}`);
  if (id !== selected) return;
  if (answer.status === 404) {
    complete = true;
    fill("replayed", "This exchange is no longer kept.");
    return;
  }
  show(await answer.json());
}

function mark() {
  for (const row of document.querySelectorAll("#exchanges tbody tr")) {
    const is = Number(row.dataset.id) === selected;
    row.classList.toggle("selected", is);
    if (is) row.setAttribute("aria-current", "true"); else row.removeAttribute("aria-current");
  }
}

async function select(id) {
  selected = id;
  complete = false;
  fill("replayed", "");
  mark();
  await load();
}

async function replay() {
  const button = document.getElementById("replay");
  button.disabled = true;
  fill("replayed", "sending …");
  try {
    const answer = await fetch(`/replay/${selected}`, { method: "POST", headers: { "x-dev-token": TOKEN } });
    if (!answer.ok) {
      fill("replayed", `Not sent: ${(await answer.text()).trim()}`);
      return;
    }
    const { id } = await answer.json();
    if (id === null) {
      fill("replayed", "Sent; it didn't come to the guest.");
      return;
    }
    await update();
    await select(id);
    fill("replayed", `Sent again as exchange ${id}.`);
  } catch {
    fill("replayed", "Not sent: the server can't be reached.");
  } finally {
    button.disabled = false;
  }
}

function about(guest) {
  const phase = document.getElementById("phase");
  phase.textContent = guest.phase;
  phase.className = `pill ${{ running: "good", failed: "bad" }[guest.phase] ?? "warn"}`;
  const parts = [guest.name, guest.url ? `served at ${guest.url}` : "not served yet",
    guest.loaded === null ? null : `loaded at ${clock(guest.loaded)}`];
  fill("about", parts.filter((part) => part).join(", "));
  const banner = document.getElementById("failure");
  banner.hidden = guest.phase !== "failed";
  const stays = guest.loaded === null ? "There is no guest yet" : "The previous guest keeps running";
  banner.replaceChildren(element("p", {}, element("strong", {}, `${stays}: `), guest.message),
    ...(guest.output ? [element("pre", { tabindex: 0 }, guest.output)] : []));
  const warnings = document.getElementById("warnings");
  warnings.hidden = guest.warnings.length === 0;
  warnings.replaceChildren(...guest.warnings.map((warning) => element("p", {}, `warning: ${warning}`)));
}

async function update() {
  const answer = await fetch(version === null ? "/state" : `/state?version=${version}`);
  if (answer.status === 200) {
    const state = await answer.json();
    version = state.version;
    about(state.guest);
    fill("exchanges", list(state.exchanges));
    fill("kept", `${state.kept.exchanges} of the last ${state.kept.max_exchanges} exchanges, ${size(state.kept.bytes)} of ${size(state.kept.max_bytes)}`);
    await load();
  }
}

async function cycle() {
  if (!paused) {
    try {
      await update();
      document.body.classList.remove("stale");
    } catch {
      document.body.classList.add("stale");
      fill("phase", "stopped");
      // A server that starts again has another token, and other exchanges.
      version = null;
    }
  }
  setTimeout(cycle, PERIOD);
}

document.getElementById("replay").addEventListener("click", replay);
document.getElementById("pause").addEventListener("click", (event) => {
  paused = !paused;
  event.target.textContent = paused ? "Resume" : "Pause";
  event.target.setAttribute("aria-pressed", String(paused));
});
cycle();
