// The overview, a lock, a berth: what a supervisor looks at.

import { alarmTable, when } from "./alarms.js";
import { chart } from "./chart.js";
import { ask, duration, h, has, instant, lang, locale, number, percent, quantity, show, t, wattHours, watts } from "./dom.js";
import { alarmsOf, code, declared, deviceOf, gatewayOf, now, onChange, siteOf, state, value } from "./state.js";
import { headOf, partsOf, synoptic } from "./synoptic.js";

const HOUR = 3600e3;
const MODES = { LOCAL: "local", REMOTE: "remote", MAINTENANCE: "maintenance", AUTO: "auto" };

/** "il y a 12 s", with the instant of the newest row for programs. */
function age(device) {
  if (!device || device.why === "never") return h("span", {}, t("age.never"));
  const told = duration((now() - device.t_ms) / 1000);
  return h("time", { datetime: new Date(device.t_ms).toISOString() }, device.stale ? t("age.stale", { for: told }) : t("age.fresh", { ago: told }));
}

function mode(site, name) {
  const seen = code(site, name, "mode");
  return seen === null ? t("unknown") : t(`mode.${MODES[seen] ?? "other"}`);
}

function phase(site, name) {
  const row = deviceOf(site, name)?.computed.lock_phase;
  if (!row) return { word: t("phase.unknown"), key: "unknown", sinceMs: null };
  return { word: t(`phase.${row.phase}`), key: row.phase, sinceMs: row.since_ms ?? row.t_ms, direction: row.direction };
}

const worst = (alarms) =>
  ["high", "medium", "low"].find((p) => alarms.some((a) => a.priority === p && ["unacknowledged", "acknowledged"].includes(a.state))) ?? "none";
const open = (alarms) => alarms.filter((a) => ["unacknowledged", "returned"].includes(a.state)).length;

function tileFrame(kind, site, name, names, device, body, withSite) {
  const alarms = alarmsOf(site, ...names);
  const count = open(alarms);
  return h("a", { href: `/${kind}/${site}/${name}`, class: `tile ${kind} alarm-${worst(alarms)}${!device || device.stale ? " stale" : ""}` },
    h("div", { class: "tile-head" }, h("strong", {}, name), withSite ? h("span", { class: "where" }, site) : null, count ? h("span", { class: "badge" }, t("alarm.count", { n: count })) : null),
    body, h("div", { class: "age" }, age(device)));
}

/** Parts of a lock that an alarm names, as long as its cause is there. */
const oddParts = (alarms) => alarms.filter((a) => a.active && a.state !== "suppressed").flatMap((a) => a.parts);

/** How the link to a PLC is: its round trip, or that requests fail. */
function linkQuality(device) {
  const row = device?.computed.link;
  if (!row) return h("span", { class: "link" }, t("link.short_unknown"));
  const errors = (row.errors_unreachable ?? 0) + (row.errors_refused ?? 0) + (row.errors_rejected ?? 0);
  return errors ? h("span", { class: "link slow" }, t("link.short_errors", { n: number(errors) }))
    : h("span", { class: "link" }, t("link.short_good", { ms: number(row.round_trip_ms) }));
}

function lockTile(site, device, withSite) {
  const now_ = deviceOf(site.name, device.name);
  const at = phase(site.name, device.name);
  return tileFrame("lock", site.name, device.name, [device.name], now_, [
    synoptic(site.name, device.name, device.points, oddParts(alarmsOf(site.name, device.name)), true),
    h("div", { class: "phase" }, at.word),
    h("div", { class: "facts" }, linkQuality(now_), h("span", { class: value(site.name, device.name, "mode") === 2 ? "mode maintenance" : "mode" }, mode(site.name, device.name)))], withSite);
}

const STATES = (site, charger) => code(site, charger, "state");
const stateWord = (seen) => (seen === null ? t("unknown") : t(`charger.${seen.toLowerCase()}`));

/** The BMS's own figure as a fraction: some send percent. */
function bmsSoc(site, battery) {
  const bms = value(site, battery, "soc_bms");
  return typeof bms === "number" ? bms / (bms > 1.5 ? 100 : 1) : null;
}

function berthTile(site, berth, withSite) {
  const device = deviceOf(site.name, berth.charger ?? berth.meter);
  const power = value(site.name, berth.charger, "power_w") ?? value(site.name, berth.meter, "power_w");
  const limit = value(site.name, berth.charger, "limit_w");
  const soc = deviceOf(site.name, berth.battery)?.computed.soc?.soc;
  return tileFrame("berth", site.name, berth.name, [berth.charger, berth.meter, berth.battery].filter(Boolean), device, [
    h("div", { class: "phase" }, stateWord(STATES(site.name, berth.charger))),
    h("div", { class: "facts" }, linkQuality(deviceOf(site.name, berth.charger)), h("span", { class: "vessel" }, device?.vessel && device.vessel !== "unknown" ? device.vessel : "")),
    h("div", { class: "big" }, watts(power)), bar(power, limit, t("berth.limit", { limit: watts(limit) })),
    h("div", { class: "facts" }, h("span", {}, soc === undefined ? `${t("soc.bms")} ${percent(bmsSoc(site.name, berth.battery))}` : `${t("soc.short")} ${percent(soc)}`))], withSite);
}

function bar(part, whole, label) {
  const share = typeof part === "number" && whole ? Math.max(0, Math.min(1, part / whole)) : 0;
  return h("progress", { value: share, max: 1, "aria-label": label, title: label });
}

/** Groups of the shore file in its order, which is that of the waterway; then each site that is in none. */
function sections() {
  const grouped = new Set(state.groups.flatMap((g) => g.sites));
  return [...state.groups.map((g) => [g.name, g.sites.map(siteOf).filter(Boolean)]),
    ...state.sites.filter((site) => !grouped.has(site.name)).map((site) => [site.name, [site]])];
}

const FEW = 4; // so many tiles may be large
const STRIP = 3; // lines that are always kept free above the tiles, so that these never move

export function overviewView(root, { wallDisplay = false } = {}) {
  const strip = h("section", { class: "strip", "aria-label": t("overview.attention"), "aria-live": "polite" });
  const tiles = h("section", { class: wallDisplay ? "tiles wall" : "tiles" });
  root.append(h("h1", { class: wallDisplay ? "hidden" : null }, t("overview.title")), strip, tiles);
  function draw() {
    const asking = state.alarms.filter((a) => ["unacknowledged", "returned"].includes(a.state));
    show(strip, asking.length
      ? [h("ul", {}, asking.slice(0, STRIP).map((a) => h("li", { class: a.priority },
        h("span", { class: "badge" }, t(`alarm.priority.${a.priority}`)), h("strong", {}, a.device), h("span", { class: "said" }, a.text[lang]),
        h("span", { class: "since" }, when(a.since_ms, a.uncertain_ms, a.site))))),
      state.asking > STRIP ? h("a", { href: "/alarms" }, t("overview.more", { n: state.asking - STRIP })) : null]
      : h("p", { class: "calm" }, t("overview.calm")));
    show(tiles, state.sites.length ? sections().map(([title, sites]) => {
      const locks = sites.flatMap((site) => site.devices.filter((d) => d.kind === "lock").map((d) => lockTile(site, d, sites.length > 1)));
      const berths = sites.flatMap((site) => site.berths.map((b) => berthTile(site, b, sites.length > 1)));
      return h("div", { class: "site" }, h("h2", {}, title),
        [locks, berths].map((found) => (found.length ? h("div", { class: found.length > FEW ? "grid" : "grid few" }, found) : null)));
    }) : h("p", { class: "calm" }, t("overview.nothing")));
  }
  draw();
  const timer = setInterval(draw, 1000);
  const off = onChange(draw);
  return () => { clearInterval(timer); off(); };
}

const fact = (name, told, extra) => h("div", { class: "fact" }, h("dt", {}, name), h("dd", { class: extra }, told));

function linkFacts(site, device) {
  const at = deviceOf(site.name, device.name), gateway = gatewayOf(site.name, device.gateway);
  const row = at?.computed.link;
  return h("dl", { class: "facts-list" },
    fact(t("link.last"), age(at), at?.stale ? "old" : null),
    fact(t("link.round_trip"), quantity(row?.round_trip_ms, "ms", 1)),
    fact(t("link.errors"), number((row?.errors_unreachable ?? NaN) + (row?.errors_refused ?? 0) + (row?.errors_rejected ?? 0))),
    fact(t("link.gateway"), gateway?.online === false ? t("link.offline") : gateway?.online ? t("link.online") : t("unknown"), gateway?.online === false ? "old" : null),
    fact(t("link.confirmed"), instant(gateway?.confirmed_until_ms, site.timezone, now())),
    fact(t("link.waiting"), number(gateway?.waiting)),
    fact(t("link.clock"), gateway ? (gateway.clock_trusted ? t("link.trusted") : t("link.untrusted")) : t("unknown")));
}

function median(values) {
  const known = values.filter((v) => typeof v === "number").sort((a, b) => a - b);
  return known.length ? known[Math.floor(known.length / 2)] : null;
}
const PHASE_FIELD = { entry: "entry_s", closing: "closing_s", levelling: "levelling_s", opening: "opening_s", exit: "exit_s" };

function phaseFacts(site, device, lockages) {
  const at = phase(site.name, device.name);
  const field = PHASE_FIELD[at.key];
  const usual = field ? median(lockages.filter((l) => !at.direction || l.direction === at.direction).map((l) => l[field])) : null;
  const elapsed = at.sinceMs ? (now() - at.sinceMs) / 1000 : null;
  const up = value(site.name, device.name, "level_upstream_m"), down = value(site.name, device.name, "level_downstream_m");
  const chamber = value(site.name, device.name, "level_chamber_m");
  const gap = (a, b) => (a === null || b === null ? t("unknown") : quantity(Math.abs(a - b), "m", 2));
  return h("dl", { class: "facts-list" },
    fact(t("phase.title"), at.word, usual && elapsed > 2 * usual ? "slow" : null),
    fact(t("phase.elapsed"), duration(elapsed)), fact(t("phase.usual"), duration(usual)),
    fact(t("mode.title"), mode(site.name, device.name)),
    fact(t("level.head_up"), gap(up, chamber)), fact(t("level.head_down"), gap(chamber, down)),
    fact(t("level.datum"), device.lock?.datum || t("unknown")),
    fact(t("pump"), watts(value(site.name, device.name, "pump_power_w"))),
    fact(t("estop.title"), value(site.name, device.name, "estop") === null ? t("unknown") : value(site.name, device.name, "estop") ? t("estop.on") : t("estop.off")));
}

function lockageTable(site, rows) {
  if (!rows) return h("p", { class: "calm" }, t("reading"));
  if (!rows.length) return h("p", { class: "calm" }, t("lockage.none"));
  return h("table", {}, h("thead", {}, h("tr", {}, ["start", "direction", "lasted", "vessel", "volume", "complete"].map((c) => h("th", { scope: "col" }, t(`lockage.${c}`))))),
    h("tbody", {}, rows.slice(0, 12).map((r) => h("tr", {}, h("td", {}, instant(r.start_ms, site.timezone, now())),
      h("td", {}, t(`direction.${r.direction}`)), h("td", {}, duration((r.end_ms - r.start_ms) / 1000)),
      h("td", {}, r.false_lockage ? t("lockage.false") : t("lockage.boat")), h("td", {}, quantity(r.volume_m3, "m³")),
      h("td", {}, r.complete ? t("yes") : t("lockage.partial"))))));
}

function health(rows) {
  const newest = new Map();
  for (const row of rows) if (!newest.has(`${row.code}/${row.point}`)) newest.set(`${row.code}/${row.point}`, row);
  if (!newest.size) return h("p", { class: "calm" }, t("health.none"));
  return h("table", {}, h("thead", {}, h("tr", {}, ["what", "mean", "reference", "drift"].map((c) => h("th", { scope: "col" }, t(`health.${c}`))))),
    h("tbody", {}, [...newest.values()].map((r) => h("tr", { class: r.drifted ? "drifted" : null },
      h("td", {}, `${t(`health.${r.code}`)} ${r.point ?? ""}`), h("td", {}, number(r.mean, 3)), h("td", {}, number(r.reference, 3)),
      h("td", {}, r.drifted ? t("health.drifted") : t("health.steady"))))));
}

/** The edge's reason in the page's language; one that this version does not know stays as it is. */
function reason(why) {
  const what = /^no signal for (.+)$/.exec(why)?.[1];
  const key = what ? "why.no_signal_for" : `why.${why.replaceAll(" ", "_")}`;
  return has(key) ? t(key, { what }) : why;
}

function rulesList(rules) {
  const unfed = Object.entries(rules?.not_evaluated ?? {});
  if (!unfed.length) return h("p", { class: "calm" }, t("rules.all"));
  return h("ul", {}, unfed.map(([rule, why]) => h("li", {}, h("strong", {}, t(`code.lock_${rule}`)), ` : ${reason(why)}`)));
}

const bitName = (text) => (has(`bit.${text}`) ? t(`bit.${text}`) : text);

/** The bits that are set in a word, by their texts. */
function bits({ codes }, word) {
  const set = [...word.toString(2)].reverse().flatMap((digit, bit) => (digit === "1" ? [codes?.[2 ** bit] ? bitName(codes[2 ** bit]) : `bit ${bit}`] : []));
  return set.join(", ") || "0";
}

function signals(site, device) {
  const at = deviceOf(site.name, device.name);
  return h("details", {}, h("summary", {}, t("signals.title")), h("table", {}, h("tbody", {}, device.points.map((p) => {
    const r = at?.readings[p.name];
    const told = !r || r[0] === null ? "—" : p.name.endsWith("_word") ? bits(p, r[0]) : p.codes?.[r[0]] ?? (typeof r[0] === "number" ? `${number(r[0], p.type === "float" ? 3 : 0)} ${p.unit}` : r[0]);
    return h("tr", { class: r && r[1] !== "good" ? "doubt" : null }, h("td", {}, p[lang] || p.name), h("td", {}, told),
      h("td", {}, r ? t(`quality.${r[1]}`) : t("quality.not_scanned")), h("td", {}, r ? instant(r[2], site.timezone, now()) : ""));
  }))));
}

/** A share of the time that is known; how much that was stands below. */
const share = (told) => (told && told.value !== null
  ? [percent(told.value, 1), h("span", { class: "detail" }, t("month.of_known", { coverage: percent(told.coverage) }))] : t("unknown"));

function monthFacts(month) {
  if (!month) return h("p", { class: "calm" }, t("month.waiting"));
  return [h("dl", { class: "facts-list" },
    ["teleoperable", "available", "linked"].map((name) => fact(t(`month.${name}`), share(month[name]))),
    ["remote", "local", "maintenance"].map((name) => fact(t(`month.${name}`), share(month.modes[name]))),
    ["lockages", "takeovers", "requests", "estops"].map((name) => fact(t(`month.${name}`), month[name] === null ? t("unknown") : number(month[name]))),
    fact(t("month.response"), duration(month.response_mean_s))), h("p", { class: "standing" }, t("month.provisional"))];
}

function plcTable(site, said) {
  if (!said) return h("p", { class: "calm" }, t("reading"));
  if (!said.words) return h("p", { class: "calm" }, t("plc.no_word"));
  if (!said.rows.length) return h("p", { class: "calm" }, t("plc.none"));
  const named = (r) => (r.text ? bitName(r.text) : t("plc.bit", r));
  return h("table", { class: "plc" }, h("tbody", {}, said.rows.map((r) => h("tr", {},
    h("td", {}, when(r.t_ms, r.uncertain_ms, site.name), r.order_known ? null : h("span", { class: "detail" }, t("plc.order"))),
    h("td", {}, r.device), h("td", {}, named(r), h("span", { class: "detail" }, t("plc.bit", r))), h("td", {}, t(r.on ? "plc.on" : "plc.off"))))));
}

const LEVELS = ["level_upstream_m", "level_chamber_m", "level_downstream_m"];

export function lockView(root, siteName, name) {
  const parts = Object.fromEntries(["head", "drawing", "facts", "alarms", "link", "health", "lockages", "rules", "month", "plc", "signals"].map((n) => [n, h("section", { class: n })]));
  const trend = h("section", { class: "trend" });
  root.append(parts.head, parts.drawing, h("div", { class: "columns" }, parts.facts, parts.alarms), trend,
    h("div", { class: "columns" }, h("div", {}, h("h2", {}, t("lockage.title")), parts.lockages), h("div", {}, h("h2", {}, t("health.title")), parts.health)),
    h("div", { class: "columns" }, h("div", {}, h("h2", {}, t("link.title")), parts.link), h("div", {}, h("h2", {}, t("rules.title")), parts.rules)),
    h("div", { class: "columns" }, h("div", {}, h("h2", {}, t("month.title")), parts.month), h("div", {}, h("h2", {}, t("plc.title")), h("p", { class: "standing" }, t("plc.hint")), parts.plc)), parts.signals);
  let lockages = null, trends = [], month = null, plc = null, wrong = "";
  function draw() {
    const site = siteOf(siteName), device = declared(siteName, name), at = deviceOf(siteName, name);
    if (!site || !device) return show(parts.head, h("h1", {}, name), h("p", { class: "wrong" }, t("gone")));
    root.classList.toggle("stale", !at || at.stale);
    show(parts.head, h("h1", {}, name), h("p", { class: "age" }, age(at)));
    show(parts.drawing, synoptic(siteName, name, device.points, oddParts(alarmsOf(siteName, name))));
    show(parts.facts, phaseFacts(site, device, lockages ?? []));
    show(parts.alarms, alarmTable(alarmsOf(siteName, name), false));
    show(parts.link, linkFacts(site, device));
    const said = (made) => (wrong ? h("p", { class: "wrong" }, wrong) : made());
    show(parts.lockages, said(() => lockageTable(site, lockages)));
    show(parts.health, said(() => health(trends)));
    show(parts.rules, rulesList(device.rules));
    show(parts.month, monthFacts(month));
    show(parts.plc, said(() => plcTable(site, plc)));
    show(parts.signals, signals(site, device));
  }
  async function read() {
    const query = { site: siteName, device: name };
    [lockages, trends] = (await Promise.all([ask("lockages", { ...query, most: 60 }), ask("trends", { ...query, most: 300 })])).map((r) => r.rows);
    plc = await ask("plc-alarms", { ...query, most: 40 });
  }
  const readMonth = () => ask("lockages/month", { site: siteName, device: name }).then((said) => { month = said; draw(); }).catch(() => {});
  const stop = historyPanel(trend, siteName, name, LEVELS, "m", 6 * HOUR);
  const again = () => read().then(() => { wrong = ""; }, (error) => { wrong = error.message; }).then(draw);
  again();
  readMonth();
  const timers = [setInterval(draw, 1000), setInterval(again, 15000), setInterval(readMonth, 900000)];
  const off = onChange(draw);
  return () => { timers.forEach(clearInterval); off(); stop(); };
}

/** When the ship means to leave, against when the target is reached at the present rate. */
function departure(site, call, soc) {
  if (!call) return [t("departure.none"), null];
  const at = instant(call.departure_ms, site.timezone, now());
  if (typeof soc?.to_target_s !== "number") return [t("departure.unknown", { at }), null];
  const spare = (call.departure_ms - now()) / 1000 - soc.to_target_s;
  return spare >= 0 ? [t("departure.spare", { at, spare: duration(spare) }), null] : [t("departure.late", { at, late: duration(-spare) }), "slow"];
}

function berthFacts(site, berth, call) {
  const charger = (point) => value(site.name, berth.charger, point);
  const meter = (point) => value(site.name, berth.meter, point);
  const battery = deviceOf(site.name, berth.battery), soc = battery?.computed.soc;
  const power = meter("power_w") ?? charger("power_w"), limit = charger("limit_w");
  const seen = STATES(site.name, berth.charger);
  const vessel = deviceOf(site.name, berth.charger)?.vessel;
  return [
    h("div", { class: "big-row" }, h("div", {}, h("div", { class: "big" }, watts(power)), bar(power, limit, t("berth.limit", { limit: watts(limit) })), h("small", {}, t("berth.limit", { limit: watts(limit) }))),
      h("div", {}, h("div", { class: "big" }, percent(soc?.soc)), h("small", {}, soc ? t("soc.interval", { low: percent(soc.soc_low), high: percent(soc.soc_high) }) : t("soc.none"), h("br"), t("soc.indicative")))),
    h("dl", { class: "facts-list" },
      fact(t("berth.state"), stateWord(seen)), fact(t("berth.vessel"), vessel && vessel !== "unknown" ? vessel : t("berth.no_vessel")),
      fact(t("berth.energy"), wattHours(charger("session_energy_wh"))),
      fact(t("soc.bms"), percent(bmsSoc(site.name, berth.battery))),
      fact(t("soc.to_target"), soc?.to_target_s !== undefined ? t("soc.at_target", { time: duration(soc.to_target_s), target: percent(soc.target_soc) }) : t("unknown")),
      fact(t("departure.title"), ...departure(site, call, soc)),
      fact(t("soc.capacity"), wattHours(soc?.capacity_wh)),
      fact(t("berth.setpoint"), watts(charger("setpoint_w"))), fact(t("berth.plug"), quantity(charger("plug_temp_c"), "°C", 0)),
      fact(t("berth.index"), wattHours(meter("energy_import_total_wh"))))];
}

/** The running 10 minutes of a meter: mean power, and how much of them was counted. */
function windowOf(minutes, startMs) {
  const here = minutes.filter((m) => m.t_ms >= startMs);
  const wh = here.reduce((sum, m) => sum + (m.import_wh ?? 0), 0), covered = here.reduce((sum, m) => sum + (m.covered_s ?? 0), 0);
  return { powerW: covered ? (wh * 3600) / covered : null, covered };
}

function windowFacts(minutes, delivery, startMs) {
  const own = windowOf(minutes, startMs), point = windowOf(delivery.minutes, startMs);
  const held = delivery.subscribed;
  const over = held?.power_w && point.powerW > held.power_w;
  return h("dl", { class: "facts-list" }, fact(t("berth.window"), own.powerW === null ? t("unknown") : watts(own.powerW)),
    fact(t("berth.window_covered"), duration(own.covered)),
    delivery.meter ? fact(t("berth.window_delivery", { meter: delivery.meter }), point.powerW === null ? t("unknown") : watts(point.powerW), over ? "slow" : null) : null,
    delivery.meter ? fact(t("berth.subscribed"), held?.power_w ? `${watts(held.power_w)} (${held.tariff})` : t("berth.no_contract")) : null);
}

function callTable(site, rows) {
  if (!rows) return h("p", { class: "calm" }, t("reading"));
  if (!rows.length) return h("p", { class: "calm" }, t("call.none"));
  return h("table", {}, h("thead", {}, h("tr", {}, ["start", "vessel", "lasted", "energy", "peak", "soc"].map((c) => h("th", { scope: "col" }, t(`call.${c}`))))),
    h("tbody", {}, rows.slice(0, 12).map((r) => h("tr", {}, h("td", {}, instant(r.start_ms, site.timezone, now())), h("td", {}, r.vessel ?? "—"),
      h("td", {}, duration((r.end_ms - r.start_ms) / 1000)), h("td", {}, wattHours(r.energy_wh)), h("td", {}, watts(r.peak_power_w)),
      h("td", {}, `${percent(r.soc_start)} → ${percent(r.soc_end)}`)))));
}

export function berthView(root, siteName, name) {
  const parts = Object.fromEntries(["head", "facts", "alarms", "link", "calls", "window", "plc"].map((n) => [n, h("section", { class: n })]));
  const trend = h("section", { class: "trend" });
  root.append(parts.head, h("div", { class: "columns" }, h("div", {}, parts.facts, parts.window), parts.alarms), trend,
    h("div", { class: "columns" }, h("div", {}, h("h2", {}, t("call.title")), parts.calls, h("h2", {}, t("plc.title")), h("p", { class: "standing" }, t("plc.hint")), parts.plc), h("div", {}, h("h2", {}, t("link.title")), parts.link)));
  let delivery = { meter: null, minutes: [], subscribed: null };
  let calls = null, minutes = [], call = null, plc = null, stop = null, wrong = "";
  const berthOf = () => siteOf(siteName)?.berths.find((b) => b.name === name);
  function draw() {
    const site = siteOf(siteName), berth = berthOf();
    if (!site || !berth) return show(parts.head, h("h1", {}, name), h("p", { class: "wrong" }, t("gone")));
    const at = deviceOf(siteName, berth.charger ?? berth.meter);
    root.classList.toggle("stale", !at || at.stale);
    show(parts.head, h("h1", {}, name), h("p", { class: "age" }, age(at)));
    show(parts.facts, berthFacts(site, berth, call));
    show(parts.window, windowFacts(minutes, delivery, Math.floor(now() / 600e3) * 600e3));
    show(parts.alarms, alarmTable(alarmsOf(siteName, berth.charger, berth.meter, berth.battery)));
    const said = (made) => (wrong ? h("p", { class: "wrong" }, wrong) : made());
    show(parts.calls, said(() => callTable(site, calls)));
    show(parts.plc, said(() => plcTable(site, plc)));
    show(parts.link, [berth.charger, berth.meter, berth.battery].filter((n) => n && declared(siteName, n)).map((n) => [h("h3", {}, n), linkFacts(site, declared(siteName, n))]));
    if (!stop && (berth.meter || berth.charger)) stop = historyPanel(trend, siteName, berth.meter ?? berth.charger, ["power_w"], "MW", 6 * HOUR, 1e-6);
  }
  async function read() {
    const berth = berthOf();
    if (!berth || !state.nowMs) return; // the first word of the server says what time it is
    calls = (await ask("sessions", { site: siteName, device: berth.charger ?? berth.meter, most: 30, start_ms: Math.floor(now() - 30 * 24 * HOUR) })).rows;
    const written = (await ask("calls", { site: siteName, start_ms: Math.floor(now()), stop_ms: Math.ceil(now() + 12 * HOUR) })).rows;
    call = written.filter((c) => c.berth === name).at(-1) ?? null; // the one that leaves first
    plc = await ask("plc-alarms", { site: siteName, device: berth.charger ?? berth.meter, most: 40 });
    const lately = async (meter) => (await ask("minutes", { site: siteName, device: meter, most: 15, start_ms: Math.floor(now() - 900e3) })).rows;
    if (berth.meter) minutes = await lately(berth.meter);
    const meter = declared(siteName, berth.meter)?.meter?.parent;
    if (meter) {
      const held = (await ask("subscribed", { site: siteName })).subscribed.find((c) => c.meter === meter);
      delivery = { meter, minutes: await lately(meter), subscribed: held ?? null };
    }
  }
  const again = () => read().then(() => { wrong = ""; }, (error) => { wrong = error.message; }).then(draw);
  again();
  const timers = [setInterval(draw, 1000), setInterval(again, 15000)];
  const off = onChange(draw);
  const first = state.nowMs ? () => {} : onChange(() => { first(); again(); });
  return () => { timers.forEach(clearInterval); off(); first(); stop?.(); };
}

const SPANS = [[HOUR, "1 h"], [6 * HOUR, "6 h"], [24 * HOUR, "24 h"], [7 * 24 * HOUR, "7 d"], [31 * 24 * HOUR, "31 d"], [366 * 24 * HOUR, "1 y"]];

/** Curves with a choice of span, steps back and forth, and CSV of what is shown. */
function historyPanel(root, site, device, fields, unit, spanMs, scale = 1) {
  let span = spanMs, back = 0;
  const drawing = h("div", { class: "drawing" }), told = h("p", { class: "calm" });
  const buttons = h("div", { class: "row", role: "group", "aria-label": t("history.span") }, SPANS.map(([ms, key]) =>
    h("button", { class: "quiet", "aria-pressed": String(ms === span), onclick: (event) => {
      span = ms; back = 0;
      for (const b of event.target.parentNode.children) b.setAttribute("aria-pressed", String(b === event.target));
      draw();
    } }, t(`history.${key.replace(" ", "")}`))),
  h("button", { class: "quiet", onclick: () => { back += 1; draw(); }, "aria-label": t("history.earlier") }, "◀"),
  h("button", { class: "quiet", onclick: () => { back = Math.max(0, back - 1); draw(); }, "aria-label": t("history.later") }, "▶"),
  h("a", { class: "button quiet", download: true, href: "#" }, "CSV"));
  root.append(h("h2", {}, t("history.title")), buttons, drawing, told);
  async function draw() {
    if (!state.nowMs) return;
    const stopMs = Math.round(now() - back * span), startMs = Math.round(stopMs - span);
    const query = { site, device, fields: fields.join(","), start_ms: startMs, stop_ms: stopMs };
    buttons.querySelector("a").href = `/api/1/history?${new URLSearchParams({ ...query, format: "csv" })}`;
    try {
      const said = await ask("history", { ...query, pixels: 800 });
      const points = declared(site, device)?.points ?? [];
      const named = said.curves.map((c) => ({ ...c, name: points.find((p) => p.name === c.field)?.[lang] ?? c.field }));
      const zone = siteOf(site)?.timezone ?? "Europe/Paris";
      drawing.replaceChildren(chart(named, { startMs, stopMs, unit, zone, lang: locale, scale, label: t("history.label", { device }), zeroBased: scale !== 1 }));
      told.textContent = "";
    } catch (error) {
      told.textContent = error.message;
    }
  }
  draw();
  const first = onChange(() => { first(); draw(); }); // the first word of the server says what time it is
  const timer = setInterval(() => { if (!back && span <= 24 * HOUR) draw(); }, 10000);
  return () => { first(); clearInterval(timer); };
}

export function historyView(root, site, name) {
  const device = declared(site, name);
  root.append(h("h1", {}, name));
  if (!device) { root.append(h("p", { class: "wrong" }, t("gone"))); return () => {}; }
  const numeric = device.points.filter((p) => p.type !== "str");
  const panel = h("section", { class: "trend" });
  let stop = () => {};
  const draw = (point) => {
    stop();
    panel.replaceChildren();
    stop = historyPanel(panel, site, name, [point.name], point.unit, 6 * HOUR);
  };
  root.append(h("label", {}, t("history.point"), h("select", { onchange: (e) => draw(numeric[e.target.selectedIndex]) }, numeric.map((p) => h("option", {}, p[lang] || p.name)))), panel);
  if (numeric.length) draw(numeric[0]);
  return () => stop();
}
