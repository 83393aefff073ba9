// What the server said last. Views read it and are told when it changes.

import { ask } from "./dom.js";

export const state = {
  sites: [], groups: [], devices: {}, gateways: {}, alarms: [], alarmsInAll: 0, asking: 0, rate: 0, nowMs: 0, broker: true, problem: false, linked: false,
};
const listeners = new Set();
let heardAt = 0; // of this browser's own clock
let speed = 1;

export function onChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
const changed = () => listeners.forEach((listener) => listener());

/** The instant that counts, going on between two messages. */
export const now = () => state.nowMs + (performance.now() - heardAt) * speed;

export const deviceOf = (site, name) => state.devices[`${site}/${name}`];
export const siteOf = (name) => state.sites.find((site) => site.name === name);
export const declared = (site, name) => siteOf(site)?.devices.find((device) => device.name === name);
export const alarmsOf = (site, ...names) => state.alarms.filter((a) => a.site === site && names.includes(a.device));
export const gatewayOf = (site, name) => state.gateways[`${site}/${name}`];

/** The newest good or doubtful value of a point; null where it is not known. */
export function value(site, device, point) {
  const reading = deviceOf(site, device)?.readings[point];
  return reading ? reading[0] : null;
}
/** The label that the profile gives a code. */
export function code(site, device, point) {
  const seen = value(site, device, point);
  const known = declared(site, device)?.points.find((p) => p.name === point);
  return seen === null ? null : known?.codes?.[seen] ?? String(seen);
}

async function loadSites() {
  ({ sites: state.sites, groups: state.groups } = await ask("sites"));
  changed();
}

function take(said) {
  const elapsed = performance.now() - heardAt;
  if (heardAt && elapsed > 500) speed = Math.min(3600, Math.max(0, (said.now_ms - state.nowMs) / elapsed));
  if (!heardAt || elapsed > 500) {
    state.nowMs = said.now_ms;
    heardAt = performance.now();
  }
  state.linked = true;
  state.broker = said.broker;
  state.problem = said.problem;
  state.unsent = said.unsent;
  state.leftOut = said.left_out;
  Object.assign(state.devices, said.devices);
  Object.assign(state.gateways, said.gateways);
  if (said.alarms) {
    state.alarms = said.alarms;
    state.rate = said.alarm_rate;
    state.alarmsInAll = said.alarms_in_all;
    state.asking = said.asking;
  }
  if (said.catalogues !== undefined) loadSites().catch(() => {}); // the stream says when the server is back
  lastMessage = performance.now();
  changed();
}

let lastMessage = 0;
const SILENT_MS = 7000; // the server says something every 2 s

export async function begin() {
  await loadSites();
  const source = new EventSource("/api/1/stream");
  source.addEventListener("state", (event) => take(JSON.parse(event.data)));
  source.onerror = async () => {
    const reply = await fetch("/api/1/me").catch(() => null);
    if (reply?.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
  };
  setInterval(() => {
    const linked = performance.now() - lastMessage < SILENT_MS;
    if (linked !== state.linked) {
      state.linked = linked;
      changed();
    }
  }, 1000);
}
