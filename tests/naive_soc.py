"""The point-mass filter of `dsp.soc`, slow, from its definition: each row of hypotheses is a table of its own.

For a pack of one cell, steps without gaps, good values and no BMS; inside the identified temperatures.
"""

import math
from typing import Any

import numpy as np

TABLE = np.linspace(0.0, 1.0, 101)


class Grid:
    def __init__(self, cell: Any, constants: Any) -> None:
        self.cell, self.c = cell, constants
        self.rows = [{"bias": 0.0, "factor": 1.0, "z": TABLE.copy(), "logw": np.zeros(101)}]
        self.x1 = self.x2 = self.h = self.seen = 0.0
        self.past = self.h_doubt = 1.0
        self.last: tuple[float, float] | None = None
        self.window: list[tuple[float, ...]] = []
        self.near: Any = None
        self.charge = self.time = 0.0
        self.bias_zero, self.factor_zero, self.open = 0.0, 1.0, False
        self.soc = self.capacity_ah = math.nan

    def step(self, t_s: float, voltage_v: float, current_a: float, temp_c: float) -> None:
        cell, c, dt = self.cell, self.c, 0.0
        if self.last is not None:
            dt, mean = t_s - self.last[0], 0.5 * (self.last[1] + current_a)
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
        for row in self.rows:
            moved = (charge - row["bias"] * time_s) / (3600 * self.cell.capacity_ah * row["factor"])
            z, logw = row["z"] + moved, row["logw"]
            while z[-1] > 1.005:  # one that leaves 0..1 by half a step comes back at the other end
                z = z - 0.01
                new = np.roll(logw, 1)
                new[-1], new[0] = max(new[-1], logw[-1]), logw[0] - 1.0
                logw = new
            while z[0] < -0.005:
                z = z + 0.01
                new = np.roll(logw, -1)
                new[0], new[-1] = max(new[0], logw[0]), logw[-1] - 1.0
                logw = new
            row["z"], row["logw"] = z, logw

    def weigh(self, mean: Any, weight_s: float, temp_c: float) -> None:
        cell, c = self.cell, self.c
        v, i, x1, x2, h = mean[:5]
        r = [np.array([arrhenius(cell, temp_c, cell.r_ohm[:, k, j]) for j in range(101)]) for k in range(3)]
        ohmic = r[0] * i + r[1] * x1 + r[2] * x2
        gap = cell.half_gap_v * math.exp(cell.hysteresis_activation_k * (1 / (temp_c + 273.15) - 1 / 298.15))
        place = 0 if math.isnan(self.soc) else min(100, int(self.soc / 0.01))
        self.near = ([r[k][place] for k in range(3)], cell.sigma_v[place])
        expected = cell.ocv_v + gap * h + ohmic
        doubt_h = c.H_DOUBT_LEAST + (1 - c.H_DOUBT_LEAST) * self.h_doubt
        variance = cell.sigma_v**2 + (c.RESISTANCE_DOUBT * ohmic) ** 2 + (doubt_h * gap) ** 2
        variance += ((r[1] + r[2]) * c.PAST_C_RATE * cell.capacity_ah * self.past) ** 2
        for row in self.rows:
            z, logw = row["z"], row["logw"]
            left = np.floor(np.round(z * 100, 9)).astype(int)
            low, high = np.clip(left, 0, 100), np.clip(left + 1, 0, 100)
            slope = (cell.ocv_v[high] - cell.ocv_v[low]) * 100
            w = np.interp(z, TABLE, variance) + (c.SOC_DOUBT * slope) ** 2
            e = np.interp(z, TABLE, expected) - row["bias"] * np.interp(z, TABLE, r[0] + r[1] + r[2])
            size = np.abs(v - e) / np.sqrt(w)
            loss = np.where(
                size <= c.HUBER, 0.5 * size**2, c.HUBER * (size - 0.5 * c.HUBER)
            ) + c.SURE_SHARE * np.log(w)
            faded = logw.max() * math.exp(-weight_s / c.FORGET_ROWS_S)
            faded = faded + (logw - logw.max()) * math.exp(-weight_s / c.FORGET_S)
            row["awake"] = logw > c.ASLEEP_LOG
            top = logw.max() * math.exp(-weight_s / c.FORGET_ROWS_S)
            new = faded - weight_s / c.CORRELATION_S * loss
            if self.open and row["awake"].any():
                new = new + (1.0 - c.ROW_TRUST) * (top - new[row["awake"]].max())
            row["logw"] = np.where(row["awake"], new, faded)
        best = max(row["logw"][row["awake"]].max(initial=-math.inf) for row in self.rows)
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
        z = np.clip(np.array([row["z"] for row in self.rows]), 0.0, 1.0)
        weight = np.exp(np.array([row["logw"] for row in self.rows]))
        weight[weight <= math.exp(-20.0)] = 0.0
        weight /= weight.sum()
        self.soc = float((weight * z).sum())
        share = weight.sum(axis=1)
        self.bias = float(share @ [row["bias"] for row in self.rows])
        self.capacity_ah = self.cell.capacity_ah * float(share @ [row["factor"] for row in self.rows])
        sd = math.sqrt(float((weight * (z - self.soc) ** 2).sum()))
        if not self.open and sd < c.SETTLED_SD and self.seen > c.SETTLED_S:
            self.open = True
            z0, logw0, self.rows = self.rows[0]["z"], self.rows[0]["logw"], []
            for b in range(-(c.BIASES // 2), c.BIASES // 2 + 1):
                for f in range(-(c.CAPACITIES // 2), c.CAPACITIES // 2 + 1):
                    prior = (b * c.BIAS_STEP_C / c.BIAS_SD_C) ** 2 + (f * c.CAPACITY_STEP / c.CAPACITY_SD) ** 2
                    logw = np.maximum(c.LEAST_LOG, logw0 - 0.5 * prior)
                    self.rows.append({"b": b, "f": f, "z": z0.copy(), "logw": logw})
        elif self.open:
            self.recentre(float(share @ [r["b"] for r in self.rows]), float(share @ [r["f"] for r in self.rows]))
        for row in self.rows if self.open else []:
            row["bias"] = self.bias_zero + row["b"] * c.BIAS_STEP_C * self.cell.capacity_ah
            row["factor"] = self.factor_zero * (1 + row["f"] * c.CAPACITY_STEP)

    def recentre(self, place_b: float, place_f: float) -> None:
        c = self.c
        for key, place, most, penalty in (("b", place_b, 1.2, 1.5), ("f", place_f, 0.7, 1.0)):
            if abs(place) <= most:
                continue
            way, half = (1 if place > 0 else -1), (c.BIASES if key == "b" else c.CAPACITIES) // 2
            if key == "b":
                self.bias_zero += way * c.BIAS_STEP_C * self.cell.capacity_ah
            else:
                self.factor_zero *= 1 + way * c.CAPACITY_STEP
            old = {(row["b"], row["f"]): row for row in self.rows}
            for row in self.rows:
                b, f = (row["b"] + way, row["f"]) if key == "b" else (row["b"], row["f"] + way)
                source = old.get((b, f))
                less = 0.0 if source is not None else penalty
                source = source or old[(row["b"], row["f"])]
                row["new"] = (source["z"].copy(), np.maximum(c.LEAST_LOG, source["logw"] - less))
            for row in self.rows:
                row["z"], row["logw"] = row.pop("new")
            assert max(abs(row[key]) for row in self.rows) == half


def arrhenius(cell: Any, temp_c: float, values: Any) -> float:
    """Between identified temperatures, linear in exp(activation / T)."""
    place = [
        math.exp(cell.activation_k / (t + 273.15) - cell.activation_k / 298.15) for t in (*cell.temp_c, temp_c)
    ]
    return float(np.interp(place[-1], place[-2::-1], values[::-1]))
