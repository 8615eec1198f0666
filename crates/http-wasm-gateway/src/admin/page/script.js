"use strict";

// Shows /status, updated every other second. All text is set through textContent, since guests influence messages.

const PERIOD = 2000;
const KEPT = 60;
const SVG = "http://www.w3.org/2000/svg";
const PHASES = { request: "handle_request", response: "handle_response" };

let previous = null;
let paused = false;
/** Quantiles over time, by guest and phase. */
const history = new Map();

function element(name, attributes = {}, ...children) {
  const made = name in { svg: 1, rect: 1, path: 1, line: 1, title: 1 }
    ? document.createElementNS(SVG, name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function fill(id, ...children) {
  document.getElementById(id).replaceChildren(...children);
}

function time(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return "–";
  const [factor, unit] = seconds < 1e-3 ? [1e6, "µs"] : seconds < 1 ? [1e3, "ms"] : [1, "s"];
  return `${Number((seconds * factor).toPrecision(3))} ${unit}`;
}

function span(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = parts.findIndex(([size]) => seconds >= size);
  if (at < 0) return "0 s";
  return parts.slice(at, at + 2).map(([size, unit], index) => {
    const whole = Math.floor((index ? seconds % parts[at][0] : seconds) / size);
    return whole || !index ? `${whole} ${unit}` : "";
  }).join(" ").trim();
}

function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) { bytes /= 1024; unit += 1; }
  return `${Number(bytes.toPrecision(3))} ${units[unit]}`;
}

function number(value) {
  return value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
}

function total(counts) {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

/** What was counted between two readings. */
function since(now, before) {
  if (!before || now.count < before.count) return now;
  return {
    ...now,
    count: now.count - before.count,
    buckets: now.buckets.map((count, index) => count - before.buckets[index]),
  };
}

/** The quantile of a histogram, in seconds: within its bucket, evenly spread. */
function quantile(latency, share) {
  if (!latency || latency.count === 0) return null;
  const wanted = share * latency.count;
  let below = 0;
  for (const [index, count] of latency.buckets.entries()) {
    if (count > 0 && below + count >= wanted) {
      const low = index ? latency.bounds_seconds[index - 1] : 0;
      const high = latency.bounds_seconds[index] ?? low;
      return low + (high - low) * ((wanted - below) / count);
    }
    below += count;
  }
  return null;
}

/** Counts by duration, as bars, from the first to the last that isn't 0. */
function distribution(latency, label) {
  const used = latency.buckets.map((count, index) => (count ? index : -1)).filter((index) => index >= 0);
  const [first, last] = [Math.max(used[0] - 1, 0), Math.min(used.at(-1) + 1, latency.buckets.length - 1)];
  const shown = latency.buckets.slice(first, last + 1);
  const [most, width, slow] = [Math.max(...shown), 200 / shown.length, quantile(latency, 0.99)];
  const bars = shown.map((count, index) => {
    // The square root makes a few slow calls visible next to many fast ones.
    const height = count ? Math.max(Math.sqrt(count / most) * 58, 2) : 0;
    const from = latency.bounds_seconds[first + index - 1] ?? 0;
    const to = latency.bounds_seconds[first + index];
    const text = `${number(count)} calls ${to === undefined ? `over ${time(from)}` : `up to ${time(to)}`}`;
    const tail = from >= slow ? " tail" : "";
    const box = { class: `bar${tail}`, x: index * width + 1, y: 60 - height, width: Math.max(width - 2, 1), height, rx: 1.5 };
    return element("rect", box, element("title", {}, text));
  });
  const chart = element("svg", { class: "chart", viewBox: "0 0 200 64", preserveAspectRatio: "none", role: "img", "aria-label": label },
    element("line", { class: "axis", x1: 0, y1: 61, x2: 200, y2: 61 }), ...bars);
  const from = first ? latency.bounds_seconds[first - 1] : 0;
  const to = latency.bounds_seconds[last];
  return element("figure", {}, chart, element("figcaption", {},
    element("span", {}, from ? time(from) : "0"), element("span", {}, "since start"),
    element("span", {}, to === undefined ? "more" : time(to))));
}

/** Median and 99th percentile over the last two minutes. */
function course(points, label) {
  const known = points.filter((point) => point.p99 !== null);
  const most = Math.max(...known.map((point) => point.p99), 1e-9);
  const x = (index) => (index + KEPT - points.length) * (200 / (KEPT - 1));
  const line = (key) => {
    let pen = "M";
    return points.map((point, index) => {
      if (point[key] === null) { pen = "M"; return ""; }
      const step = `${pen}${x(index).toFixed(1)} ${(60 - (point[key] / most) * 54).toFixed(1)}`;
      pen = "L";
      // A single point would be invisible.
      const alone = points[index - 1]?.[key] == null && points[index + 1]?.[key] == null;
      return alone ? `${step}h2` : step;
    }).join("");
  };
  const chart = element("svg", { class: "chart", viewBox: "0 0 200 64", preserveAspectRatio: "none", role: "img", "aria-label": label },
    element("line", { class: "axis", x1: 0, y1: 61, x2: 200, y2: 61 }),
    element("path", { class: "line p99", d: line("p99") }), element("path", { class: "line", d: line("p50") }));
  return element("figure", {}, chart, element("figcaption", {},
    element("span", {}, element("i", { class: "key" }), "p50"),
    element("span", {}, element("i", { class: "key p99" }), "p99"),
    element("span", {}, known.length ? `top ${time(most)}` : "last 2 min")));
}

function facts(pairs) {
  return element("dl", { class: "facts" }, ...pairs.map(([name, value, bad]) =>
    element("div", {}, element("dt", {}, name), element("dd", bad ? { class: "bad-text" } : {}, value))));
}

function pool({ live, idle }) {
  const share = (count) => (live ? (count / live) * 100 : 0);
  const busy = live - idle;
  return element("div", { class: "pool" },
    element("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "img", "aria-label": `${busy} of ${live} instances busy` },
      element("rect", { class: "busy", x: 0, y: 0, width: share(busy), height: 8 }),
      element("rect", { class: "idle", x: share(busy), y: 0, width: share(idle), height: 8 })));
}

function phase(guest, name, seconds) {
  const latency = guest.calls[name];
  if (!latency || latency.count === 0) return null;
  const before = previous?.guests.find((other) => other.name === guest.name)?.calls[name];
  const recent = since(latency, before);
  const rate = before ? `${number(recent.count / seconds)}/s, ` : "";
  const [p50, p99] = [quantile(latency, 0.5), quantile(latency, 0.99)];
  const points = history.get(`${guest.name}/${name}`) ?? [];
  return element("div", { class: "phase" },
    element("h4", {}, PHASES[name], element("span", {}, `${rate}${number(latency.count)} calls, p50 ${time(p50)}, p99 ${time(p99)}`)),
    element("div", { class: "charts" },
      distribution(latency, `Durations of ${PHASES[name]}: half within ${time(p50)}, 99 of 100 within ${time(p99)}`),
      course(points, `Durations of ${PHASES[name]} in the last two minutes`)));
}

function age(at, status) {
  return `${span((new Date(status.now) - new Date(at)) / 1000)} ago`;
}

/** In seconds: a certificate that is valid for less should have been renewed. */
const RENEWAL = 14 * 86400;

function certificates(all, status) {
  const lines = all.map(({ names, not_after }) => {
    const left = (new Date(not_after) - new Date(status.now)) / 1000;
    const text = left > 0 ? `expires in ${span(left)}` : `expired ${age(not_after, status)}`;
    return element("li", {}, element("span", {}, names.join(", ") || "no names"),
      element("span", { class: `pill ${left >= RENEWAL ? "good" : "bad"}`, title: not_after }, text));
  });
  return lines.length ? element("ul", { class: "addresses" }, ...lines) : "–";
}

function listeners(status) {
  const versions = { auto: "HTTP/1.1, HTTP/2", 1: "HTTP/1.1", 2: "HTTP/2" };
  return table([["Address"], ["HTTP"], ["Connections", "number"], ["Certificates"]], status.listeners.map((listener) => [
    `${listener.tls ? "https" : "http"}://${listener.address ?? "unknown"}`, [versions[listener.http]],
    [`${number(listener.connections)} of ${number(listener.max_connections)}`, "number"],
    [certificates(listener.certificates, status), "wrap"]]));
}

function banner(error) {
  const place = document.getElementById("reload-error");
  place.hidden = !error;
  // Changed once for each error, so that it isn't read aloud with each update.
  if (!error || place.dataset.at === error.at) return;
  place.dataset.at = error.at;
  place.replaceChildren(
    element("p", {}, element("strong", {}, "The configuration was not reloaded"),
      ` at ${new Date(error.at).toLocaleString("en-GB")}; the previous one stays active.`),
    element("pre", { tabindex: 0 }, error.message));
}

function card(guest, seconds, status) {
  const failed = total(guest.failures);
  const kinds = Object.entries(guest.failures).map(([kind, count]) => `${kind.replaceAll("_", " ")} ${number(count)}`).join(", ");
  const checkouts = total(guest.checkouts);
  const hits = checkouts ? `${Number(((guest.checkouts.hit ?? 0) / checkouts * 100).toPrecision(3))} %` : "–";
  return element("article", { class: "card" },
    element("div", {}, element("h3", {}, guest.name),
      element("span", { class: `pill ${guest.up ? "good" : "bad"}` }, guest.up ? "up" : "not loaded"),
      guest.optional ? element("span", { class: "pill" }, "optional") : null,
      guest.facts?.snapshot ? element("span", { class: "pill" }, "snapshot") : null),
    guest.pool ? facts([
      ["Instances", `${number(guest.pool.live - guest.pool.idle)} busy, ${number(guest.pool.idle)} idle`],
      ["Memory", size(guest.pool.memory_bytes)],
      ["SHA-256", element("span", { title: guest.facts.sha256 }, guest.facts.sha256.slice(0, 12))],
      ["Loaded", element("span", { title: guest.facts.since }, age(guest.facts.since, status))],
      ["From pool", hits],
      ["Failures", failed ? kinds : "none", failed > 0],
    ]) : element("p", { class: "quiet" }, "Requests to its routes get 503. The reason is in the recent errors and in the log."),
    guest.pool ? pool(guest.pool) : null,
    ...Object.keys(PHASES).map((name) => phase(guest, name, seconds)));
}

function table(heads, rows) {
  const cell = (tag, [text, kind], more) => element(tag, { ...(kind ? { class: kind } : {}), ...more }, text);
  return element("table", {},
    element("thead", {}, element("tr", {}, ...heads.map((head) => cell("th", head, { scope: "col" })))),
    element("tbody", {}, ...rows.map(([name, ...rest]) =>
      element("tr", {}, cell("th", [name], { scope: "row" }),
        ...rest.map((value, index) => cell("td", value, { "data-name": heads[index + 1][0] }))))));
}

function codes(counts) {
  return Object.entries(counts).map(([code, count]) => `${code === "none" ? "no response" : code} ${number(count)}`).join(", ") || "–";
}

function addresses(all) {
  return element("ul", { class: "addresses" }, ...all.map(({ url, health, retry_in_seconds, in_flight, failures }) =>
    element("li", {}, element("span", {}, url),
      element("span", { class: `pill ${health === "healthy" ? "good" : "bad"}` },
        health === "out" ? `ejected for ${time(retry_in_seconds)}` : health),
      element("span", { class: "quiet" }, `${number(in_flight)} in flight${failures ? `, ${number(failures)} failed` : ""}`))));
}

function tiles(status, seconds, rate) {
  const uptime = (new Date(status.now) - new Date(status.started)) / 1000;
  const memory = status.guests_memory;
  const bodies = status.bodies_memory;
  const reloads = status.reloads;
  const connections = total(status.listeners.map((listener) => listener.connections));
  const failed = reloads.failure ? `, ${reloads.failure} failed` : "";
  const tile = (name, value, detail) => element("div", { class: "tile" },
    element("dl", {}, element("dt", {}, name), element("dd", {}, value, detail ? element("small", {}, detail) : null)));
  fill("summary",
    tile("Requests", rate === null ? "–" : `${number(rate)}/s`, `${number(status.requests_in_flight)} in flight`),
    tile("Connections", number(connections), `to ${status.listeners.length} ${status.listeners.length === 1 ? "listener" : "listeners"}`),
    tile("Guest memory", memory ? size(memory.used_bytes) : "–", memory ? `of ${size(memory.budget_bytes)} allowed` : ""),
    tile("Body memory", bodies ? size(bodies.used_bytes) : "–",
      bodies ? `of ${size(bodies.budget_bytes)} allowed${bodies.refused + bodies.evicted ? `, ${number(bodies.refused + bodies.evicted)} refused` : ""}` : ""),
    tile("Process memory", size(status.process_memory_bytes), "resident"),
    tile("Uptime", span(uptime), `${reloads.success} ${reloads.success === 1 ? "reload" : "reloads"}${failed}`));
}

function show(status) {
  const seconds = previous ? (new Date(status.now) - new Date(previous.now)) / 1000 : 0;
  const finished = (all) => [...all.routes, all.no_route].reduce((sum, route) => sum + total(route.requests), 0);
  const rate = seconds > 0 ? Math.max(finished(status) - finished(previous), 0) / seconds : null;

  const stage = document.getElementById("stage");
  if (stage.textContent !== status.stage) stage.textContent = status.stage;
  stage.className = `pill ${status.stage === "ready" ? "good" : "warn"}`;
  const digest = status.configuration ? `configuration ${status.configuration.sha256.slice(0, 12)}` : "no configuration yet";
  const waiting = status.configuration?.at_next_start ?? [];
  const waits = waiting.length ? `; changes of ${waiting.join(", ")} take effect after a restart` : "";
  document.getElementById("about").textContent = `Version ${status.version}, ${digest}${waits}`;
  tiles(status, seconds, rate);

  for (const guest of status.guests) {
    for (const name of Object.keys(PHASES)) {
      const before = previous?.guests.find((other) => other.name === guest.name)?.calls[name];
      if (!before || !guest.calls[name]) continue;
      const recent = since(guest.calls[name], before);
      const points = history.get(`${guest.name}/${name}`) ?? [];
      points.push({ p50: quantile(recent, 0.5), p99: quantile(recent, 0.99) });
      history.set(`${guest.name}/${name}`, points.slice(-KEPT));
    }
  }
  banner(status.reload_error);
  fill("guests", ...(status.guests.length ? status.guests.map((guest) => card(guest, seconds, status))
    : [element("p", { class: "quiet" }, "No guests are configured.")]));

  fill("listeners", listeners(status));

  const route = ({ name, guests, upstream, requests, durations }) => [name, [guests.join(" → ") || "–", "wrap"], [upstream ?? "–"],
    [codes(requests), "wrap"], [time(quantile(durations, 0.5)), "number"], [time(quantile(durations, 0.99)), "number"]];
  const rows = status.routes.map(route);
  if (total(status.no_route.requests)) rows.push(route({ ...status.no_route, name: "no route", guests: [] }));
  fill("routes", table([["Route"], ["Guests"], ["Upstream"], ["Responses"], ["p50", "number"], ["p99", "number"]], rows));

  document.getElementById("upstreams-section").hidden = status.upstreams.length === 0;
  fill("upstreams", table([["Upstream"], ["Addresses"], ["Answers"], ["Failures"], ["p50", "number"], ["p99", "number"]],
    status.upstreams.map((upstream) => [upstream.name, [addresses(upstream.addresses), "wrap"], [codes(upstream.requests), "wrap"],
      [codes(upstream.failures), total(upstream.failures) ? "wrap bad-text" : "wrap"],
      [time(quantile(upstream.durations, 0.5)), "number"], [time(quantile(upstream.durations, 0.99)), "number"]])));

  fill("errors", status.errors.length ? element("ol", { class: "errors" }, ...status.errors.map((error) =>
    element("li", {},
      element("time", { class: "quiet", datetime: error.at, title: error.at }, new Date(error.at).toLocaleString("en-GB")),
      element("div", {}, element("p", {}, `${error.source} `, element("strong", {}, error.name), ` `,
        element("span", { class: "pill bad" }, error.kind.replaceAll("_", " ")),
          error.times > 1 ? element("span", { class: "quiet" }, ` ${number(error.times)} times`) : ""),
        element("p", { class: "message" }, error.message)))))
    : element("p", { class: "quiet" }, "None."));
  previous = status;
}

async function refresh() {
  try {
    const response = await fetch("/status", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    show(await response.json());
    document.body.classList.remove("stale");
    document.getElementById("fresh").textContent = `Updated at ${new Date().toLocaleTimeString("en-GB")}`;
  } catch (error) {
    document.body.classList.add("stale");
    const stage = document.getElementById("stage");
    stage.textContent = "unreachable";
    stage.className = "pill bad";
    document.getElementById("fresh").textContent = `No response: ${error.message}`;
  }
}

async function run() {
  // A hidden page sends no requests.
  if (!paused && !document.hidden) await refresh();
  setTimeout(run, PERIOD);
}

document.getElementById("pause").addEventListener("click", ({ currentTarget }) => {
  paused = !paused;
  currentTarget.setAttribute("aria-pressed", String(paused));
  currentTarget.textContent = paused ? "Resume" : "Pause";
});
run();
