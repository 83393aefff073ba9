"""The point-mass filter of `dsp.soc`, slow, from its definition: each row of hypotheses is a table of its own,
and the Kalman filter beside it is in matrices.

For a pack of one cell, steps without gaps, good values and no BMS; inside the identified temperatures.
"""

import math
from typing import Any

import numpy as np

TABLE = np.linspace(0.0, 1.0, 101)


class Grid:
    def __init__(self, cell: Any, constants: Any, kalman_constants: Any) -> None:
        self.cell, self.c = cell, constants
        self.kalman = Kalman(cell, kalman_constants)
        self.rows = [{"past": past, "logw": np.zeros(101)} for past in (-1.0, 0.0, 1.0)]
        self.z = TABLE.copy()
        self.x1 = self.x2 = self.h = self.seen = 0.0
        self.past = self.h_doubt = 1.0
        self.last: tuple[float, float] | None = None
        self.window: list[tuple[float, ...]] = []
        self.near: Any = None
        self.charge = self.time = 0.0
        self.bias, self.inverse, self.settled = 0.0, 1.0, False
        self.forget_s = constants.LEAST_FORGET_S
        self.soc, self.capacity_ah = math.nan, cell.capacity_ah

    def step(self, t_s: float, voltage_v: float, current_a: float, temp_c: float) -> None:
        cell, c, dt = self.cell, self.c, 0.0
        if self.last is not None:
            dt, mean = t_s - self.last[0], 0.5 * (self.last[1] + current_a)
            self.kalman.predict(dt, mean)
            charge = mean * dt * (cell.efficiency if mean > 0 else 1.0)
            self.x1 = mean + (self.x1 - mean) * math.exp(-dt / cell.tau1_s)
            self.x2 = mean + (self.x2 - mean) * math.exp(-dt / cell.tau2_s)
            self.past *= math.exp(-dt / c.PAST_S)
            if charge:
                left = math.exp(-cell.hysteresis_rate * abs(charge) / 3600 / cell.capacity_ah)
                self.h = math.copysign(1.0, charge) + (self.h - math.copysign(1.0, charge)) * left
                self.h_doubt *= left
            self.charge, self.time, self.seen = self.charge + charge, self.time + dt, self.seen + dt
        self.last = (t_s, current_a)
        row = (voltage_v, current_a, self.x1, self.x2, self.h, self.charge, self.time)
        held_s = min(max(dt, 0.1), c.GAP_S)
        sure = 1.0
        if self.near is not None:  # a row under load tells less, for resistances are doubtful
            r, sigma = self.near
            drop = c.RESISTANCE_DOUBT * (r[0] * current_a + r[1] * self.x1 + r[2] * self.x2)
            sure = max(c.LEAST_WEIGHT, sigma**2 / (sigma**2 + drop**2))
        self.window.append((held_s * sure, held_s, *row))
        self.kalman.correct(voltage_v, current_a, temp_c, held_s)
        if self.time >= c.WINDOW_S or math.isnan(self.soc) or self.seen < c.WINDOW_S:
            self.close(temp_c)

    def close(self, temp_c: float) -> None:
        share = np.array([row[0] for row in self.window])
        mean = share @ np.array([row[2:] for row in self.window]) / share.sum()
        time_s = sum(row[1] for row in self.window)
        self.move(mean[5], mean[6])
        self.weigh(mean, time_s, temp_c)
        self.move(self.charge - mean[5], self.time - mean[6])
        self.window, self.charge, self.time = [], 0.0, 0.0
        self.summarise()

    def move(self, charge: float, time_s: float) -> None:
        z = self.z + (charge - self.bias * time_s) / 3600 / self.cell.capacity_ah * self.inverse
        while z[-1] > 1.005:  # one that leaves 0..1 by half a step comes back at the other end
            z = z - 0.01
            for row in self.rows:
                old = row["logw"]
                row["logw"] = np.roll(old, 1)
                row["logw"][-1], row["logw"][0] = max(row["logw"][-1], old[-1]), old[0] - 1.0
        while z[0] < -0.005:
            z = z + 0.01
            for row in self.rows:
                old = row["logw"]
                row["logw"] = np.roll(old, -1)
                row["logw"][0], row["logw"][-1] = max(row["logw"][0], old[0]), old[-1] - 1.0
        self.z = z

    def weigh(self, mean: Any, weight_s: float, temp_c: float) -> None:
        cell, c = self.cell, self.c
        v, h = mean[0], mean[4]
        i, x1, x2 = mean[1:4] - self.bias
        r = resistances(cell, temp_c)
        ohmic = r[0] * i + r[1] * x1 + r[2] * x2
        gap = cell.half_gap_v * math.exp(cell.hysteresis_activation_k * (1 / (temp_c + 273.15) - 1 / 298.15))
        place = 0 if math.isnan(self.soc) else min(100, int(self.soc / 0.01))
        self.near = ([r[k][place] for k in range(3)], cell.sigma_v[place])
        expected = cell.ocv_v + gap * h + ohmic
        known = len(self.rows) == 1
        doubt_h = c.H_DOUBT_LEAST + (1 - c.H_DOUBT_LEAST) * (self.h_doubt if known else 0.0)
        variance = cell.sigma_v**2 + (c.RESISTANCE_DOUBT * ohmic) ** 2 + (doubt_h * gap) ** 2
        variance += ((r[1] + r[2]) * c.PAST_C_RATE * cell.capacity_ah * self.past) ** 2
        left = np.floor(np.round(self.z * 100, 9)).astype(int)
        low, high = np.clip(left, 0, 100), np.clip(left + 1, 0, 100)
        of_slope = (c.SOC_DOUBT * (cell.ocv_v[high] - cell.ocv_v[low]) * 100) ** 2
        w = np.interp(self.z, TABLE, variance) + of_slope
        same = np.interp(self.z, TABLE, (doubt_h * gap) ** 2) + of_slope
        best = -math.inf
        for row in self.rows:
            e = np.interp(self.z, TABLE, expected + row["past"] * self.h_doubt * gap)
            size = np.abs(v - e) / np.sqrt(w)
            loss = np.where(size <= c.HUBER, 0.5 * size**2, c.HUBER * (size - 0.5 * c.HUBER))
            loss = loss * size**2 / (size**2 + same / w + 1e-12) + c.SURE_SHARE * np.log(w)
            faded = row["logw"] * math.exp(-weight_s / self.forget_s)
            row["awake"] = row["logw"] > c.ASLEEP_LOG
            row["logw"] = np.where(row["awake"], faded - weight_s / c.CORRELATION_S * loss, faded)
            best = max(best, row["logw"][row["awake"]].max(initial=-math.inf))
        for row in self.rows:
            row["logw"] = np.maximum(c.LEAST_LOG, np.where(row["awake"], row["logw"] - best, row["logw"]))

    def doubt(self, dt_s: float, mean_a: float, usual_a: float, most_a: tuple[float, float]) -> None:
        """A silence: each hypothesis is as likely as the likeliest from which it can have been reached."""
        c, steps_per_a = self.c, dt_s / 3600 / self.cell.capacity_ah * 100
        reach = max(c.GAP_C_RATE * self.cell.capacity_ah, usual_a) * steps_per_a
        up = max(0.5, min(0.5 * max(0.5, (most_a[0] - mean_a) * steps_per_a), reach))
        down = max(0.5, min(0.5 * max(0.5, (most_a[1] + mean_a) * steps_per_a), reach))
        for row in self.rows:
            before = row["logw"]
            new = before.copy()
            for to in range(101):
                for source in range(101):
                    away = (to - source) / up if to >= source else (source - to) / down
                    cost = 0.5 * away**2 if away < 2 else 2 * away - 2
                    if before[source] > c.ASLEEP_LOG:
                        new[to] = max(new[to], before[source] - cost)
            row["logw"] = np.maximum(c.LEAST_LOG, new)

    def summarise(self) -> None:
        c = self.c
        logw = np.array([row["logw"] for row in self.rows])
        weight = np.where(logw > -20.0, np.exp(logw), 0.0).sum(axis=0)
        weight /= weight.sum()
        z = np.clip(self.z, 0.0, 1.0)
        self.soc = float(weight @ z)
        sd = math.sqrt(float(weight @ (z - self.soc) ** 2))
        if len(self.rows) > 1 and self.seen > c.SETTLED_S:
            share = np.exp(logw).sum(axis=1) / np.exp(logw).sum()
            past = np.array([row["past"] for row in self.rows])
            mean = float(share @ past)
            spread = math.sqrt(float(share @ past**2) - mean**2) * self.h_doubt
            k = min(100, int(self.soc / 0.01))
            gap = self.cell.half_gap_v[k]
            if spread * gap < max(self.cell.sigma_v[k], c.H_DOUBT_LEAST * gap):
                self.h, self.h_doubt = self.h + mean * self.h_doubt, spread
                merged = np.maximum(c.LEAST_LOG, np.log(np.exp(logw).mean(axis=0)))
                self.rows = [{"past": 0.0, "logw": merged}]
        self.listen(sd)

    def listen(self, sd: float) -> None:
        """Offset and capacity come from the Kalman filter once it has been started where SoC settled."""
        c, k, cell = self.c, self.kalman, self.cell
        if not self.settled:
            if len(self.rows) > 1 or sd > c.SETTLED_SD or self.seen < c.SETTLED_S:
                return
            self.settled = True
            k.start(self.soc, sd, self.h)
        most, small = c.MOST_OFFSET_C * cell.capacity_ah, c.SMALL_OFFSET_C * cell.capacity_ah
        offset = float(np.clip(k.x[1], -most, most))
        self.bias, self.inverse = offset**3 / (offset**2 + small**2), float(k.x[2])
        self.capacity_ah = cell.capacity_ah / self.inverse
        unsure_c = math.sqrt(k.cov[1, 1]) / cell.capacity_ah
        self.forget_s = float(np.clip(c.AGE_SOC * 3600.0 / unsure_c, c.LEAST_FORGET_S, c.MOST_FORGET_S))


class Kalman:
    """`dsp.ekf` in matrices."""

    def __init__(self, cell: Any, constants: Any) -> None:
        self.cell, self.c = cell, constants
        self.i1 = self.i2 = self.h = 0.0
        self.start(0.5, math.sqrt(0.09 - constants.LEAST_SD**2), 0.0)

    def start(self, soc: float, sd: float, h: float) -> None:
        c, self.h = self.c, h
        self.x = np.array([soc, 0.0, 1.0])
        bias_sd = c.SD_OFFSET_C * self.cell.capacity_ah
        self.cov = np.diag([sd**2 + c.LEAST_SD**2, bias_sd**2, c.SD_CAPACITY**2])

    def predict(self, dt: float, mean: float) -> None:
        c, cell, per = self.c, self.cell, 1 / 3600 / self.cell.capacity_ah
        charge = (mean - self.x[1]) * dt * (cell.efficiency if mean > 0 else 1.0)
        f = np.array([[1.0, -dt * per * self.x[2], charge * per], [0, 1, 0], [0, 0, 1]])
        self.x[0] = np.clip(self.x[0] + charge * per * self.x[2], -0.05, 1.05)
        self.i1 = mean + (self.i1 - mean) * math.exp(-dt / cell.tau1_s)
        self.i2 = mean + (self.i2 - mean) * math.exp(-dt / cell.tau2_s)
        if charge:
            goal = math.copysign(1.0, charge)
            self.h = goal + (self.h - goal) * math.exp(-cell.hysteresis_rate * abs(charge) * per)
        walk = np.array([c.WALK_SOC, c.WALK_OFFSET_C * cell.capacity_ah, c.WALK_CAPACITY])
        self.cov = f @ self.cov @ f.T + np.diag(walk**2 * dt)

    def correct(self, v: float, i: float, temp_c: float, held_s: float) -> None:
        c, cell = self.c, self.cell
        z = float(np.clip(self.x[0], 0, 1))
        a = min(99, int(z * 100))
        r = [float(np.interp(z, TABLE, values)) for values in resistances(cell, temp_c)]
        gap = math.exp(cell.hysteresis_activation_k * (1 / (temp_c + 273.15) - 1 / 298.15))
        gap *= float(np.interp(z, TABLE, cell.half_gap_v))
        ohmic = r[0] * i + r[1] * self.i1 + r[2] * self.i2
        slope = np.array([max(0.02, (cell.ocv_v[a + 1] - cell.ocv_v[a]) * 100), -sum(r), 0.0])
        expected = float(np.interp(z, TABLE, cell.ocv_v)) + gap * self.h + ohmic - sum(r) * self.x[1]
        noise = cell.sigma_v[a] ** 2 + (c.RESISTANCE_DOUBT * ohmic) ** 2 + (0.3 * gap) ** 2
        total = float(slope @ self.cov @ slope) + noise * c.CORRELATION_S / held_s
        gain = self.cov @ slope / total
        limit = c.GATE * math.sqrt(total)
        x = self.x + gain * float(np.clip(v - expected, -limit, limit))
        self.x = np.array([np.clip(x[0], 0, 1), x[1], np.clip(x[2], 0.7, 2.0)])
        self.cov = self.cov - np.outer(gain, slope @ self.cov)


def resistances(cell: Any, temp_c: float) -> list[Any]:
    """R0, R1 and R2 over SoC."""
    return [np.array([arrhenius(cell, temp_c, cell.r_ohm[:, k, j]) for j in range(101)]) for k in range(3)]


def arrhenius(cell: Any, temp_c: float, values: Any) -> float:
    """Between identified temperatures, linear in exp(activation / T)."""
    place = [
        math.exp(cell.activation_k / (t + 273.15) - cell.activation_k / 298.15) for t in (*cell.temp_c, temp_c)
    ]
    return float(np.interp(place[-1], place[-2::-1], values[::-1]))
