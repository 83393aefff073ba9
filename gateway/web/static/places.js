// What pages of several kinds show: age, link, mode, phase, the PLC's journal.

import { when } from "./alarms.js";
import { duration, h, has, instant, number, percent, quantity, t } from "./dom.js";
import { code, deviceOf, gatewayOf, now, value } from "./state.js";

export const HOUR = 3600e3;
export const MODES = { LOCAL: "local", REMOTE: "remote", MAINTENANCE: "maintenance", AUTO: "auto" };

/** "il y a 12 s", with the instant of the newest row for programs. */
export function age(device) {
  if (!device || device.why === "never") return h("span", {}, t("age.never"));
  const told = duration((now() - device.t_ms) / 1000);
  return h("time", { datetime: new Date(device.t_ms).toISOString() }, device.stale ? t("age.stale", { for: told }) : t("age.fresh", { ago: told }));
}

export function mode(site, name) {
  const seen = code(site, name, "mode");
  return seen === null ? t("unknown") : t(`mode.${MODES[seen] ?? "other"}`);
}

export function phase(site, name) {
  const row = deviceOf(site, name)?.computed.lock_phase;
  if (!row) return { word: t("phase.unknown"), key: "unknown", sinceMs: null };
  return { word: t(`phase.${row.phase}`), key: row.phase, sinceMs: row.since_ms ?? row.t_ms, direction: row.direction };
}

/** Parts of a lock that an alarm names, as long as its cause is there. */
export const oddParts = (alarms) => alarms.filter((a) => a.active && a.state !== "suppressed").flatMap((a) => a.parts);

/** How the link to a PLC is: its round trip, or that requests fail. */
export function linkQuality(device) {
  const row = device?.computed.link;
  if (!row) return h("span", { class: "link" }, t("link.short_unknown"));
  const errors = (row.errors_unreachable ?? 0) + (row.errors_refused ?? 0) + (row.errors_rejected ?? 0);
  return errors ? h("span", { class: "link slow" }, t("link.short_errors", { n: number(errors) }))
    : h("span", { class: "link" }, t("link.short_good", { ms: number(row.round_trip_ms) }));
}

export const STATES = (site, charger) => code(site, charger, "state");
export const stateWord = (seen) => (seen === null ? t("unknown") : t(`charger.${seen.toLowerCase()}`));

/** The BMS's own figure as a fraction: some send percent. */
export function bmsSoc(site, battery) {
  const bms = value(site, battery, "soc_bms");
  return typeof bms === "number" ? bms / (bms > 1.5 ? 100 : 1) : null;
}

export function bar(part, whole, label) {
  const share = typeof part === "number" && whole ? Math.max(0, Math.min(1, part / whole)) : 0;
  return h("progress", { value: share, max: 1, "aria-label": label, title: label });
}

export const fact = (name, told, extra) => h("div", { class: "fact" }, h("dt", {}, name), h("dd", { class: extra }, told));

export function linkFacts(site, device) {
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

export const bitName = (text) => (has(`bit.${text}`) ? t(`bit.${text}`) : text);

export function plcTable(site, said) {
  if (!said) return h("p", { class: "calm" }, t("reading"));
  if (!said.words) return h("p", { class: "calm" }, t("plc.no_word"));
  if (!said.rows.length) return h("p", { class: "calm" }, t("plc.none"));
  const named = (r) => (r.text ? bitName(r.text) : t("plc.bit", r));
  return h("table", { class: "plc" }, h("tbody", {}, said.rows.map((r) => h("tr", {},
    h("td", {}, when(r.t_ms, r.uncertain_ms, site.name), r.order_known ? null : h("span", { class: "detail" }, t("plc.order"))),
    h("td", {}, r.device), h("td", {}, named(r), h("span", { class: "detail" }, t("plc.bit", r))), h("td", {}, t(r.on ? "plc.on" : "plc.off"))))));
}
