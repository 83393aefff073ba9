// A lock: drawn from its data, with its phase, alarms, ageing, link and month.

import { alarmTable } from "./alarms.js";
import { ask, duration, h, has, instant, lang, number, percent, quantity, show, t, watts } from "./dom.js";
import { historyPanel } from "./history.js";
import { HOUR, age, mode, phase, oddParts, fact, linkFacts, bitName, plcTable } from "./places.js";
import { alarmsOf, code, declared, deviceOf, now, onChange, siteOf, value } from "./state.js";
import { synoptic } from "./synoptic.js";

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
