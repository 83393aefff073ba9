// A short tone for an alarm that nobody has seen yet. Off until somebody switches it on in this browser.

import { h, t } from "./dom.js";

const PITCH = { high: 880, medium: 660 }; // Hz; low priority never sounds
const known = new Set(); // alarms that have sounded, or were there before
let first = true;
let audio = null;

const wanted = () => localStorage.getItem("sound") === "on";

export function soundButton() {
  const button = h("button", { class: "quiet", onclick: () => {
    localStorage.setItem("sound", wanted() ? "off" : "on");
    button.textContent = t(wanted() ? "sound.on" : "sound.off");
    if (wanted()) tone(PITCH.medium); // to hear that it works; a browser also wants a press before the first tone
  } }, t(wanted() ? "sound.on" : "sound.off"));
  return button;
}

function tone(pitch) {
  audio ??= new AudioContext();
  const source = audio.createOscillator(), volume = audio.createGain();
  source.frequency.value = pitch;
  volume.gain.setValueAtTime(0.2, audio.currentTime);
  volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + 0.6);
  source.connect(volume).connect(audio.destination);
  source.start();
  source.stop(audio.currentTime + 0.6);
}

/** One tone for all that is new: a flood is no concert. What is there at the first call is no news. */
export function soundFor(alarms) {
  const fresh = alarms.filter((a) => a.state === "unacknowledged" && PITCH[a.priority] && !known.has(`${a.site}/${a.device}/${a.code}/${a.point}/${a.since_ms}`));
  for (const a of fresh) known.add(`${a.site}/${a.device}/${a.code}/${a.point}/${a.since_ms}`);
  if (!first && fresh.length && wanted()) tone(fresh.some((a) => a.priority === "high") ? PITCH.high : PITCH.medium);
  first = false;
}
