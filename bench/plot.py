"""Draw tokens per second over the round trip, one SVG per step time, from the JSON of `costeer bench net` or measure_net.py.

    python3 bench/plot.py FILE.json docs      writes docs/net-tokens-per-second-s<STEP>.svg

The pictures stand alone: no scripts, no fonts of their own, colours for a light and a dark page. Every line is labelled at its end;
labels are moved apart where lines end close to each other. The same data give the same bytes.
"""
import json
import math
import os
import sys

WIDTH, HEIGHT = 760, 430
LEFT, RIGHT, TOP, BOTTOM = 66, 200, 46, 54
LABEL_GAP = 17  # pixels between two labels' baselines
LOG_FROM = 25  # a larger spread of rates than this gets a logarithmic axis

# Okabe and Ito's colours, which people with any colour vision tell apart; lighter ones on a dark page. Dashes tell public from private.
LINES = {
    "plain": ("#5b5b5b", "#c8c8c8", "2 4"),
    "lockstep": ("#b34a00", "#ff8f4a", ""),
    "streamed": ("#0060a0", "#5ab4f0", ""),
    "streamed+private": ("#0060a0", "#5ab4f0", "7 4"),
    "drafted": ("#007a58", "#3fcf9f", ""),
    "drafted+private": ("#007a58", "#3fcf9f", "7 4"),
}


def style():
    rules = ["text{font:13px system-ui,sans-serif;fill:#333}", ".title{font-weight:600;font-size:15px}", ".small{font-size:12px}",
             ".grid{stroke:#0000001f;stroke-width:1}", ".axis{stroke:#777;stroke-width:1}", "path{fill:none;stroke-width:2.2}"]
    dark = ["text{fill:#d8d8d8}", ".grid{stroke:#ffffff24}", ".axis{stroke:#999}"]
    for i, (light_colour, dark_colour, dashes) in enumerate(LINES.values()):
        dash = f";stroke-dasharray:{dashes}" if dashes else ""
        rules.append(f".l{i}{{stroke:{light_colour}{dash}}}.m{i}{{fill:{light_colour}}}.k{i}{{stroke:{light_colour};stroke-width:1}}")
        dark.append(f".l{i}{{stroke:{dark_colour}}}.m{i}{{fill:{dark_colour}}}.k{i}{{stroke:{dark_colour}}}")
    return "".join(rules) + "@media(prefers-color-scheme:dark){" + "".join(dark) + "}"


def nice_step(span, n):
    """The step of 1, 2 or 5 times a power of ten that divides a span into about n parts."""
    raw = span / n
    power = 10 ** math.floor(math.log10(raw))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= raw)


class Scale:
    """From tokens per second to pixels."""

    def __init__(self, values):
        low, high = min(values), max(values)
        self.is_log = high / low > LOG_FROM
        if self.is_log:
            decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
            round_numbers = [m * 10.0 ** d for d in decades for m in (1, 2, 5)]
            self.low, self.high = max(v for v in round_numbers if v <= low), high * 1.2
            self.ticks = [v for v in round_numbers if self.low <= v <= self.high]
        else:
            step = nice_step(high * 1.05, 6)
            self.low, self.high = 0, step * math.ceil(high * 1.03 / step)
            self.ticks = [i * step for i in range(round(self.high / step) + 1)]

    def y(self, value):
        share = (math.log(value / self.low) / math.log(self.high / self.low) if self.is_log
                 else (value - self.low) / (self.high - self.low))
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def spread(wanted, low, high):
    """Positions as near as possible to those wanted, in their order, at least LABEL_GAP apart, within [low, high]."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    # blocks of labels that touch: [members, mean position of the first]
    blocks = []
    for i in order:
        blocks.append([[i], wanted[i]])
        while len(blocks) > 1 and blocks[-1][1] < blocks[-2][1] + LABEL_GAP * len(blocks[-2][0]):
            members, _ = blocks.pop()
            joined = blocks[-1][0] + members
            mean = sum(wanted[m] - LABEL_GAP * k for k, m in enumerate(joined)) / len(joined)
            blocks[-1] = [joined, min(max(mean, low), high - LABEL_GAP * (len(joined) - 1))]
    placed = [0.0] * len(wanted)
    for members, first in blocks:
        for k, i in enumerate(members):
            placed[i] = first + LABEL_GAP * k
    return placed


def number(value):
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def axes(scale, x, trips):
    out = []
    bottom = HEIGHT - BOTTOM
    for tick in scale.ticks:
        y = scale.y(tick)
        out.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
                   f'<text class="small" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    for trip in trips:
        out.append(f'<line class="axis" x1="{x(trip):.1f}" y1="{bottom}" x2="{x(trip):.1f}" y2="{bottom + 5}"/>'
                   f'<text class="small" x="{x(trip):.1f}" y="{bottom + 20}" text-anchor="middle">{trip}</text>')
    out.append(f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{WIDTH - RIGHT}" y2="{bottom}"/>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">round trip, ms</text>')
    kind = ", logarithmic" if scale.is_log else ""
    out.append(f'<text class="small" x="{LEFT - 52}" y="{TOP - 12}">tokens per second{kind}</text>')
    return out


def picture(cells, step_ms):
    """The SVG of all cells of one step time."""
    cells = sorted((c for c in cells if c["step_ms"] == step_ms), key=lambda c: c["round_trip_ms"])
    trips = [c["round_trip_ms"] for c in cells]
    rates = {}
    for cell in cells:
        for mode in cell["modes"]:
            rates.setdefault(mode["mode"], []).append((cell["round_trip_ms"], mode["tokens_per_s"]["median"]))
    scale = Scale([rate for line in rates.values() for _, rate in line])
    span = max(max(trips), 1)

    def x(trip):
        return LEFT + trip / span * (WIDTH - LEFT - RIGHT)

    title = f"LLM steps of {step_ms} ms at least" if step_ms else "LLM steps as fast as they are"
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
           f'aria-label="Tokens per second of each mode over the round trip; {title}">',
           f"<style>{style()}</style>", f'<text class="title" x="{LEFT - 52}" y="20">{title}</text>', *axes(scale, x, trips)]
    ends = spread([scale.y(line[-1][1]) for line in rates.values()], TOP, HEIGHT - BOTTOM)
    for (name, line), label_y in zip(rates.items(), ends):
        i = list(LINES).index(name)
        points = [(x(trip), scale.y(rate)) for trip, rate in line]
        out.append(f'<path class="l{i}" d="M' + "L".join(f"{px:.1f} {py:.1f}" for px, py in points) + '"/>')
        out.extend(f'<circle class="m{i}" cx="{px:.1f}" cy="{py:.1f}" r="3.4"/>' for px, py in points)
        end_x, end_y = points[-1]
        out.append(f'<line class="k{i}" x1="{end_x + 5:.1f}" y1="{end_y:.1f}" x2="{end_x + 18:.1f}" y2="{label_y:.1f}"/>')
        out.append(f'<text class="m{i}" x="{end_x + 22:.1f}" y="{label_y + 4.5:.1f}">{name} {number(line[-1][1])}</text>')
    return "\n".join([*out, "</svg>", ""])


def write_all(measured, folder):
    """Write a picture per step time; returns the files' names."""
    cells = measured.get("grid", measured)["cells"]
    names = []
    for step_ms in sorted({c["step_ms"] for c in cells}):
        name = os.path.join(folder, f"net-tokens-per-second-s{step_ms}.svg")
        with open(name, "w", encoding="utf-8") as f:
            f.write(picture(cells, step_ms))
        names.append(name)
    return names


def main(arguments):
    if len(arguments) != 2:
        print("plot: use python3 bench/plot.py FILE.json FOLDER", file=sys.stderr)
        return 2
    with open(arguments[0], encoding="utf-8") as f:
        measured = json.load(f)
    for name in write_all(measured, arguments[1]):
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
