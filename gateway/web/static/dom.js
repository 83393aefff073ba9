// Small helpers: elements, words and numbers. Text is always set as text, never as HTML.

const start = JSON.parse(document.getElementById("start").textContent);
export const { lang, words, me, wall } = start;
export const locale = lang === "en" ? "en-GB" : "fr-FR"; // dates and numbers as on this side of the Atlantic

/** A sentence of text/{fr,en}.toml with its places filled. */
export function t(key, values = {}) {
  const text = words["web." + key];
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "—");
}
export const has = (key) => words["web." + key] !== undefined;

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element[name] = value; // a property, so that `show` can hand it on
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const UNKNOWN = "—";

/** A number in the page's language; unknown is a dash. */
export function number(value, digits = 0) {
  if (typeof value !== "number" || !Number.isFinite(value)) return UNKNOWN;
  return value.toLocaleString(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
export const quantity = (value, unit, digits = 0) =>
  typeof value === "number" && Number.isFinite(value) ? `${number(value, digits)}\u00a0${unit}` : UNKNOWN;
export const percent = (share, digits = 0) =>
  typeof share === "number" ? `${number(100 * share, digits)}\u202f%` : UNKNOWN;
export const watts = (w) =>
  typeof w !== "number" ? UNKNOWN : Math.abs(w) >= 1e6 ? quantity(w / 1e6, "MW", 2) : quantity(w / 1e3, "kW", 0);
export const wattHours = (wh) =>
  typeof wh !== "number" ? UNKNOWN : Math.abs(wh) >= 1e7 ? quantity(wh / 1e6, "MWh", 2) : quantity(wh / 1e3, "kWh", 0);

/** 75 -> "1 min 15 s"; at most two units. */
export function duration(seconds) {
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) return UNKNOWN;
  const whole = Math.max(0, Math.round(seconds));
  const parts = [[Math.floor(whole / 86400), t("unit.day")], [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"], [whole % 60, "s"]];
  while (parts.length > 1 && parts[0][0] === 0) parts.shift();
  return parts.slice(0, 2).map(([n, unit]) => `${n}\u00a0${unit}`).join(" ");
}

/** An instant in the site's own time; with its date unless it is today. */
export function instant(ms, zone, nowMs) {
  if (typeof ms !== "number" || !ms) return UNKNOWN;
  const day = (at) => new Date(at).toLocaleDateString(locale, { timeZone: zone });
  const clock = new Date(ms).toLocaleTimeString(locale, { timeZone: zone });
  return nowMs !== undefined && day(ms) === day(nowMs) ? clock : `${day(ms)} ${clock}`;
}

const HANDLERS = ["onclick", "onchange", "onsubmit"];

/** Make one node like another, so that focus, a finger that is down and what is open stay where they are. */
function become(node, made) {
  if (node.nodeName !== made.nodeName) return node.replaceWith(made);
  if (node.nodeType === Node.TEXT_NODE) {
    if (node.data !== made.data) node.data = made.data;
    return undefined;
  }
  for (const { name } of [...node.attributes]) if (!made.hasAttribute(name) && name !== "open") node.removeAttribute(name);
  for (const { name, value } of made.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  for (const name of HANDLERS) if (node[name] !== made[name]) node[name] = made[name];
  const children = [...made.childNodes];
  while (node.childNodes.length > children.length) node.lastChild.remove();
  children.forEach((child, i) => (i < node.childNodes.length ? become(node.childNodes[i], child) : node.append(child)));
  return undefined;
}

/** Put new children where the old ones were; what has not changed is left alone. */
export function show(parent, ...children) {
  const made = parent.cloneNode(false);
  for (const name of HANDLERS) made[name] = parent[name];
  become(parent, fill(made, {}, children));
}

export async function ask(path, query = {}) {
  const text = new URLSearchParams(Object.entries(query).filter(([, v]) => v !== undefined && v !== null));
  const reply = await fetch(`/api/1/${path}?${text}`);
  if (reply.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
  const said = await reply.json();
  if (!reply.ok) throw new Error(reply.status === 503 ? t("banner.store") : said.error);
  return said;
}

export async function tell(path, said) {
  const reply = await fetch(`/api/1/${path}`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(said),
  });
  const answer = await reply.json();
  if (reply.ok) return null;
  return answer.code && has(answer.code.replace(/^web\./, "")) ? t(answer.code.replace(/^web\./, ""), answer.values) : answer.error;
}
