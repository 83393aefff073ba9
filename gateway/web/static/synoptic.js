// A lock seen from the side: reaches, chamber, gates, sluices and lights, as they are now. Unknown is drawn as unknown.

import { number, s, t } from "./dom.js";
import { value } from "./state.js";

const W = 900, H = 360, FLOOR = 320, TOP = 60;
const X = { up: 250, down: 650 }; // where the gates stand
const LIGHT = ["red", "red-green", "green"];

/** Gates, sluices and lights by the names of their points. */
export function partsOf(points) {
  const names = points.map((p) => p.name);
  const ids = (pattern) => [...new Set(names.map((n) => pattern.exec(n)?.[1]).filter(Boolean))];
  return {
    gates: ids(/^gate_(.+)_(?:state|position)$/),
    sluices: ids(/^sluice_(.+)_(?:state|position)$/),
    lights: names.filter((n) => n.startsWith("light_")),
  };
}
export const headOf = (id) => (/^(up|amont|1)/.test(id) ? "up" : /^(down|aval|2|3)/.test(id) ? "down" : null);

function scaleOf(levels) {
  const known = levels.filter((l) => typeof l === "number");
  const low = Math.min(...known), high = Math.max(...known);
  const span = Math.max(1, high - low);
  return (level) => FLOOR - 60 - ((level - low) / span) * (FLOOR - 60 - TOP - 50);
}

function water(x, width, level, y, name, lift = 0) {
  if (typeof level !== "number") {
    return s("g", { class: "water unknown" }, s("rect", { x, y: TOP, width, height: FLOOR - TOP }),
      s("text", { x: x + width / 2, y: 200, "text-anchor": "middle" }, "?"));
  }
  return s("g", { class: "water" },
    s("rect", { x, y: y(level), width, height: FLOOR - y(level) }),
    s("line", { x1: x, x2: x + width, y1: y(level), y2: y(level) }),
    s("text", { x: x + width / 2, y: y(level) - 24 - lift, "text-anchor": "middle", class: "name" }, name),
    s("text", { x: x + width / 2, y: y(level) - 6 - lift, "text-anchor": "middle", class: "level" }, `${number(level, 2)}\u00a0m`));
}

const GATE = ["closed", "opening", "open", "closing", "stopped"];

function gate(read, ids, x, odd) {
  const states = ids.map((id) => read(`gate_${id}_state`));
  const positions = ids.map((id) => read(`gate_${id}_position`)).filter((p) => p !== null);
  const said = states.every((state) => state === states[0]) ? GATE[states[0]] : states.some((q) => q === null) ? undefined : "moving";
  const open = positions.length ? Math.min(...positions) : said === "open" ? 1 : said === "closed" ? 0 : null;
  const label = said ? t(`gate.${said}`) : t("unknown");
  const height = (FLOOR - TOP) * (open === null ? 1 : 1 - 0.82 * open);
  return s("g", { class: `gate ${said ?? "unknown"}${odd("gate", ids)}` },
    s("rect", { x: x - 8, y: TOP, width: 16, height }),
    s("text", { x, y: TOP - 30, "text-anchor": "middle" }, label),
    open !== null && open > 0 && open < 1
      ? s("text", { x, y: TOP - 12, "text-anchor": "middle", class: "small" }, `${number(100 * open)}\u202f%`) : null);
}

function sluice(read, ids, x, odd) {
  const positions = ids.map((id) => read(`sluice_${id}_position`) ?? [0, 0.5, 1, 0.5, null][read(`sluice_${id}_state`) ?? 4]);
  const known = positions.filter((p) => p !== null && p !== undefined);
  const open = known.length ? Math.max(...known) : null;
  const state = open === null ? "unknown" : open > 0.01 ? "open" : "closed";
  return s("g", { class: `sluice ${state}${odd("sluice", ids)}` },
    s("rect", { x: x - 26, y: FLOOR - 22, width: 52, height: 18 }),
    s("rect", { class: "opening", x: x - 26, y: FLOOR - 22, width: 52 * (open ?? 0), height: 18 }),
    s("text", { x, y: FLOOR + 18, "text-anchor": "middle", class: "small" },
      open === null ? t("unknown") : open > 0.01 ? `${t("sluice.open")} ${number(100 * open)}\u202f%` : t("sluice.closed")));
}

function light(read, point, x, y, odd) {
  const seen = read(point);
  const shown = seen === null ? "unknown" : LIGHT[seen] ?? "unknown";
  const words = t(`light.${shown}`);
  return s("g", { class: `light ${shown}${odd("light", [point.replace("light_", "")])}` },
    s("title", {}, `${point}: ${words}`),
    s("rect", { x: x - 9, y: y - 9, width: 18, height: 34, rx: 5 }),
    s("circle", { class: "red", cx: x, cy: y, r: 6 }), s("circle", { class: "green", cx: x, cy: y + 16, r: 6 }));
}

/** The drawing. `odd`: parts that an alarm names, as "gate up"; `small` leaves out what can't be read on a tile. */
export function synoptic(site, device, points, odd = [], small = false) {
  const name = device;
  const read = (point) => value(site, name, point);
  const parts = partsOf(points);
  const [up, chamber, down] = ["level_upstream_m", "level_chamber_m", "level_downstream_m"].map(read);
  const y = scaleOf([up, chamber, down]);
  const vessel = read("vessel_present");
  const deck = typeof chamber === "number" ? y(chamber) : 220;
  const sides = ["up", "down"];
  const mark = (kind, ids) => (ids.some((id) => odd.includes(`${kind} ${id}`)) ? " odd" : "");
  const label = t("synoptic.label", { device, up: number(up, 2), chamber: number(chamber, 2), down: number(down, 2) });
  return s("svg", { viewBox: `0 0 ${W} ${H}`, class: small ? "synoptic small-drawing" : "synoptic", role: "img", "aria-label": label },
    water(0, X.up - 8, up, y, t("level.up")),
    water(X.up + 8, X.down - X.up - 16, chamber, y, t("level.chamber"), vessel ? 20 : 0),
    water(X.down + 8, W - X.down - 8, down, y, t("level.down")),
    vessel ? s("path", { class: "vessel", d: `M${X.up + 70} ${deck - 16} h250 l-24 34 h-206 z` }) : null,
    vessel && !small ? s("text", { x: 450, y: deck + 8, "text-anchor": "middle", class: "vessel-name" }, t("vessel.present")) : null,
    s("rect", { class: "floor", x: 0, y: FLOOR, width: W, height: 4 }),
    sides.map((side) => gate(read, parts.gates.filter((id) => headOf(id) === side), X[side], mark)),
    sides.map((side) => {
      const ids = parts.sluices.filter((id) => headOf(id) === side);
      return ids.length ? sluice(read, ids, X[side], mark) : null;
    }),
    small ? null : parts.lights.map((point) => {
      const [, side, way] = /^light_(\w+?)_(in|out)$/.exec(point) ?? [];
      const outside = (side === "up") === (way === "in") ? -1 : 1;
      return X[side] ? light(read, point, X[side] + 34 * outside, TOP + 6, mark) : null;
    }),
    read("estop") ? s("g", { class: "estop" }, s("circle", { cx: 450, cy: 30, r: 20 }),
      s("text", { x: 450, y: 36, "text-anchor": "middle" }, t("estop.short"))) : null);
}
