// A berth: power, energy, state of charge, windows and calls.

import { alarmTable, when } from "./alarms.js";
import { ask, duration, h, instant, percent, quantity, show, t, wattHours, watts } from "./dom.js";
import { historyPanel } from "./history.js";
import { HOUR, age, STATES, stateWord, bmsSoc, bar, fact, linkFacts, plcTable } from "./places.js";
import { alarmsOf, declared, deviceOf, now, onChange, siteOf, state, value } from "./state.js";

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
