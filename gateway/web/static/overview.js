// The overview: what needs attention, then every lock and berth where it always is.

import { when } from "./alarms.js";
import { h, lang, percent, show, t, watts } from "./dom.js";
import { age, mode, phase, oddParts, linkQuality, STATES, stateWord, bmsSoc, bar } from "./places.js";
import { alarmsOf, deviceOf, onChange, siteOf, state, value } from "./state.js";
import { synoptic } from "./synoptic.js";

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

function lockTile(site, device, withSite) {
  const now_ = deviceOf(site.name, device.name);
  const at = phase(site.name, device.name);
  return tileFrame("lock", site.name, device.name, [device.name], now_, [
    synoptic(site.name, device.name, device.points, oddParts(alarmsOf(site.name, device.name)), true),
    h("div", { class: "phase" }, at.word),
    h("div", { class: "facts" }, linkQuality(now_), h("span", { class: value(site.name, device.name, "mode") === 2 ? "mode maintenance" : "mode" }, mode(site.name, device.name)))], withSite);
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
