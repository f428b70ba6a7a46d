"""Measure steering through an existing engine and print the tables of docs/engines.md. Called by `scripts/bench engines`.

The engine is an unmodified llama-server with the built-in LLM, behind tests/net's proxy, which delays every byte by R/2 each way and
lets no event leave the server sooner than S after the one before it, so that a small model stands for a large one. "plain" is the
engine's own text with as many log-probabilities, asked for by a client of ours that does nothing but read. "streamed" and "lockstep" are
`costeer generate` with that engine as its cloud. All of them take the same prompts in turn, in changing order; ratios are taken between
neighbours.

What theory allows, in the words of docs/network.md: f and c are the device's own work on a token, d and e the corrections and deepenings
per token. A correction closes the stream and asks again: the new request is at the engine after R/2, its first event at the device
R + S after the choice. Without the correction it would have been there after S. A deepening closes the stream and asks again as well,
for the same position, so that its step is taken twice:

    streamed    T = max(S, f + c) + d (R + w) + e (R + S + w)
    lockstep    T = max(f, R + S) + c + e (R + S)

w is the wait for a step to begin. With steps of each request's own it is nothing. With steps that all requests share (an engine with
continuous batching; "shared" in the table) the step that is under way when the request comes runs to its end, though nobody waits for
it any more. The request answers an event, which left at a step's end, so that it comes R + c after one, and

    w = S ceil((R + c) / S) - (R + c)

which is S/2 on average over all R, and for one R as it falls. In lockstep the engine is idle when a request comes: no w. Where the
floor is lower than the steps that plain's tokens took, S is those.

Bytes are those that the device wrote and read for the answer; its checks of the engine before it are not in them, nor the events that
were on their way when a stream was closed, about (d + e) R/S a token.

The proxy's end of a TCP connection is on the loopback: what a handshake would cost, were no connection ready, is not in it.
"""
import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import types

from measure import Failed, machine
import measure_net
from measure_net import ranged

PARTS = ("grid", "proofs")

N_CTX = 2048
SERVER_FLAGS = ("--no-cache-idle-slots", "--slot-prompt-similarity", "0")
ANSWER_TIMEOUT_S = 600

# (S ms, R ms, are steps shared by all requests): the depths K
CELLS = {(0, 0, False): (16, 64, 256, 1024), (0, 50, False): (64, 256), (30, 0, False): (64, 256), (30, 50, False): (16, 64, 256, 1024),
         (30, 50, True): (64, 256)}
QUICK_CELLS = {(0, 0, False): (64,), (5, 10, False): (64,), (5, 10, True): (64,)}
LOCKSTEP_DEPTHS = (64, 256)  # the others only show what K costs

TARGET_STREAMED = 0.65  # of plain, S = 30, R = 50, with as many log-probabilities
TARGET_PREDICTED = 0.10  # off what theory allows


# ---- plain: the engine's own text ----

def body_of(raw):
    """The body of an HTTP response that was read to its end."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise Failed(f"llama-server answers {head.splitlines()[0].decode(errors='replace') if head else 'nothing'}")
    if b"transfer-encoding: chunked" not in head.lower():
        return rest
    body = bytearray()
    while (size := int(rest[:rest.index(b"\r\n")], 16)) > 0:
        start = rest.index(b"\r\n") + 2
        body += rest[start:start + size]
        rest = rest[start + size + 2:]
    return bytes(body)


def post(port, path, content):
    """Returns what came, in pieces with the time of each. Nothing is looked at before the end, so that reading costs next to nothing."""
    request = (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
               f"Content-Length: {len(content)}\r\n\r\n").encode() + content
    pieces = []
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request)
        while piece := connection.recv(1 << 18):
            pieces.append((time.perf_counter(), piece))
    return len(request), pieces


def event_times(pieces):
    """When each event was whole. JSON has no line ends in it, and a head's are with a carriage return: two in a row end an event."""
    times, last = [], b""
    for at, piece in pieces:
        times += [at] * (last + piece).count(b"\n\n")
        last = piece[-1:]
    return times


def plain_answer(port, ids, depth, n_tokens):
    body = {"prompt": ids, "n_predict": n_tokens, "n_probs": depth, "stream": True, "cache_prompt": True, "temperature": 0,
            "samplers": ["top_k"], "top_k": 1}
    n_up, pieces = post(port, "/completion", json.dumps(body).encode())
    raw = b"".join(piece for _, piece in pieces)
    events = [json.loads(line[len(b"data: "):]) for line in body_of(raw).split(b"\n") if line.startswith(b"data: ")]
    timed = [(at, event["tokens"]) for at, event in zip(event_times(pieces), events, strict=True) if event.get("tokens")]
    tokens = [token for _, some in timed for token in some]
    if len(timed) < 2:
        raise Failed(f"llama-server gave {len(tokens)} tokens of {n_tokens}; a rate needs two")
    return {"tokens": tokens, "gaps": len(tokens) - len(timed[0][1]), "decode_us": (timed[-1][0] - timed[0][0]) * 1e6,
            "bytes_up": n_up, "bytes_down": len(raw)}


# ---- steered: `costeer generate` ----

def read_lines(name):
    with open(name, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def waits_behind_corrections(trace):
    """From a correction to the choice behind it, in µs, where one distribution was enough."""
    return [now["slm_us"] + now["llm_wait_us"] for before, now in zip(trace, trace[1:])
            if before["steered"] and now["n_deepened"] == 0]


class Device:
    """`costeer generate` on the rows of the prompts file, with the built-in pair or another one."""

    def __init__(self, program, llm=None, slm=None):
        self.program = program
        self.slm = ("--slm", slm) if slm else ()
        self.llm = ("--llm", llm) if llm else ()

    def run(self, row, n_tokens, *arguments):
        """Returns the JSON of an answer, the lines of its trace and, with a cloud, of its audit."""
        with tempfile.TemporaryDirectory() as folder:
            context, trace, audit = (os.path.join(folder, name) for name in ("context", "trace", "audit"))
            with open(context, "w", encoding="utf-8") as f:
                f.write(row["context"])
            is_cloud = "--cloud" in arguments
            command = [self.program, "generate", "--json", "--quiet", "--max-tokens", str(n_tokens), "--use", "all", "--context", context,
                       "--trace", trace, *self.slm, *(("--audit", audit) if is_cloud else self.llm), *map(str, arguments), "--", row["query"]]
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S)
            if done.returncode != 0:
                lines = done.stderr.strip().splitlines() or ["no message"]
                raise Failed(f"costeer generate ended with {done.returncode}: {lines[-1]}")
            return json.loads(done.stdout), read_lines(trace), read_lines(audit) if is_cloud else []

    def engine(self, row, port, mode, depth, n_tokens, *more):
        url = f"llama-server+http://127.0.0.1:{port}"
        return self.run(row, n_tokens, "--cloud", url, "--cloud-mode", mode, "--base-top-k", depth, *more)

    def prompt_ids(self, row, port):
        """The prompt as the engine gets it: that of the first completion request."""
        _, _, audit = self.engine(row, port, "streamed", 64, 1)
        requests = [line["tokens"] for line in audit if line["kind"] == "request" and line["tokens"]]
        if not requests:
            raise Failed("no request with tokens in the audit of costeer generate")
        return requests[0]

    def answer(self, row, port, mode, depth, n_tokens):
        result, trace, _ = self.engine(row, port, mode, depth, n_tokens)
        times, cloud = result["times_us"], result["cloud"]
        slm_us, fuse_us = (sum(line[key] for line in trace[1:]) for key in ("slm_us", "fuse_us"))
        return {"tokens": result["tokens"], "gaps": len(trace) - 1, "decode_us": times["total"] - times["prefill"],
                "bytes_up": cloud["bytes_up"], "bytes_down": cloud["bytes_down"], "slm_us": slm_us, "own_us": slm_us + fuse_us,
                "corrections": cloud["corrections"], "deepenings": cloud["deepenings"], "reconnects": cloud["reconnects"],
                "uncertified": result["uncertified"], "waits_us": waits_behind_corrections(trace)}


# ---- the network ----

class Proxy:
    """tests/net's proxy before a port, in a cell of the grid."""

    def __init__(self, program, target, cell):
        step_ms, trip_ms, is_shared = cell
        command = [program, "--target", f"127.0.0.1:{target}", "--delay-ms", str(trip_ms / 2), "--event-ms", str(step_ms),
                   *(["--step-clock"] if is_shared else []), "--control"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        line = self.process.stdout.readline()
        if not line:
            raise Failed("net_proxy did not start")
        self.port = int(line)
        return self

    def __exit__(self, *_):
        self.process.stdin.close()  # it ends with its input
        self.process.wait()
        self.process.stdout.close()


# ---- what answers amount to ----

def rate(answer):
    return answer["gaps"] * 1e6 / answer["decode_us"]


def median_and_range(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def total(answers, key):
    return sum(answer.get(key, 0) for answer in answers)


def per_gap(answers, key):
    return total(answers, key) / total(answers, "gaps")


def predict_us(cell, mode, answers, plain_us):
    """The head's formulas. Rates and the device's own work are those of the answers."""
    step_ms, trip_ms, is_shared = cell
    step_us = max(step_ms * 1e3, plain_us)
    trip_us = trip_ms * 1e3
    if mode == "plain":
        return step_us
    slm_us, own_us = per_gap(answers, "slm_us"), per_gap(answers, "own_us")
    deepenings = per_gap(answers, "deepenings")
    if mode == "lockstep":
        return max(slm_us, trip_us + step_us) + own_us - slm_us + deepenings * (trip_us + step_us)
    wait_us = -(trip_us + own_us - slm_us) % step_us if is_shared else 0
    return max(step_us, own_us) + per_gap(answers, "corrections") * (trip_us + wait_us) + deepenings * (trip_us + step_us + wait_us)


def summarize(cell, depth, mode, answers, plain, references):
    """One line of the grid. `plain` are the answers beside which these were made."""
    token_us = per_gap(answers, "decode_us")
    predicted_us = predict_us(cell, mode, answers, per_gap(plain, "decode_us"))
    waits = [wait for answer in answers for wait in answer.get("waits_us", [])]
    n_tokens = sum(len(answer["tokens"]) for answer in answers)
    return {"step_ms": cell[0], "round_trip_ms": cell[1], "shared_steps": cell[2], "depth": depth, "mode": mode,
            "tokens_per_s": median_and_range([rate(a) for a in answers]),
            "ratio": median_and_range([rate(a) / rate(p) for a, p in zip(answers, plain, strict=True)]),
            "corrections": per_gap(answers, "corrections"), "deepenings": per_gap(answers, "deepenings"),
            "uncertified": total(answers, "uncertified"), "reconnects": total(answers, "reconnects"),
            "bytes_up_per_token": total(answers, "bytes_up") / n_tokens, "bytes_down_per_token": total(answers, "bytes_down") / n_tokens,
            "reissue_us": statistics.median(waits) if waits else None,
            "reissue_mean_us": statistics.fmean(waits) if waits else None, "token_us": token_us, "predicted_us": predicted_us,
            "difference": token_us / predicted_us - 1, "answers": len(answers),
            "answers_different": sum(a["tokens"] != r for a, r in zip(answers, references)) if mode != "plain" else 0}


class Bench(measure_net.Bench):
    """What is measured with, and what came out. llama-server, its rows and its progress are those of measure_net.py."""

    def __init__(self, options):
        super().__init__(options)
        self.rounds = 1 if options.quick else options.rounds
        self.cells = QUICK_CELLS if options.quick else CELLS
        self.n_tokens = 12 if options.quick else options.tokens
        self.device = Device(options.costeer)
        with open(options.prompts, encoding="utf-8") as f:
            self.prompts = [json.loads(line) for line in f]

    def spread_rows(self, n):
        return [self.prompts[i * len(self.prompts) // n] for i in range(n)]

    def engine(self):
        return self.server(self.options.parallel, N_CTX, SERVER_FLAGS)

    # ---- grid ----

    def grid(self):
        rows = self.spread_rows(1 if self.options.quick else self.options.grid_prompts)
        references = [self.device.run(row, self.n_tokens)[0]["tokens"] for row in rows]
        lines = self.figures["cells"] = []
        with self.engine() as port:
            ids = [self.device.prompt_ids(row, port) for row in rows]
            for cell, depths in self.cells.items():
                with Proxy(self.options.net_proxy, port, cell) as proxy:
                    for depth in depths:
                        lines += self.measure_depth(proxy, cell, depth, list(zip(rows, ids, references)))
        if not self.options.quick:
            self.judge(lines)

    def measure_depth(self, proxy, cell, depth, prompts):
        """All modes of a cell at one K, in turn for each prompt and round, beginning with another one every time."""
        modes = ["plain", "streamed", *(["lockstep"] if depth in LOCKSTEP_DEPTHS else [])]
        answers = {mode: [] for mode in modes}
        for i in range(self.rounds):
            for j, (row, ids, _) in enumerate(prompts):
                steps = ", shared steps" if cell[2] else ""
                self.say(f"S = {cell[0]}, R = {cell[1]}{steps}, K = {depth}: round {i + 1}, prompt {j + 1}")
                turn = (i + j) % len(modes)
                for mode in modes[turn:] + modes[:turn]:
                    answers[mode].append(self.ask(proxy.port, mode, row, ids, depth))
        references = [reference for _ in range(self.rounds) for _, _, reference in prompts]
        return [summarize(cell, depth, mode, answers[mode], answers["plain"], references) for mode in modes]

    def ask(self, port, mode, row, ids, depth):
        if mode == "plain":
            return plain_answer(port, ids, depth, self.n_tokens)
        return self.device.answer(row, port, mode, depth, self.n_tokens)

    def judge(self, lines):
        def pick(cell, mode):
            found = [m for m in lines if (m["step_ms"], m["round_trip_ms"], m["shared_steps"]) == cell and m["mode"] == mode]
            return {m["depth"]: m for m in found}

        streamed = pick((30, 50, False), "streamed")
        best = max(streamed.values(), key=lambda m: m["ratio"]["median"])
        for depth, m in streamed.items():
            self.row(f"S = 30, R = 50, K = {depth}: streamed of plain", ranged(m["ratio"]), f">= {TARGET_STREAMED:.2f}",
                     m["ratio"]["median"] >= TARGET_STREAMED)
        self.row(f"S = 30, R = 50, K = {best['depth']}: streamed, ms per token", f"{best['token_us'] / 1e3:.1f}, predicted "
                 f"{best['predicted_us'] / 1e3:.1f} ({best['difference'] * 100:+.1f} %)", "within 10 %",
                 abs(best["difference"]) <= TARGET_PREDICTED)
        for depth, lockstep in pick((30, 50, False), "lockstep").items():
            self.row(f"S = 30, R = 50, K = {depth}: streamed over lockstep",
                     f"{streamed[depth]['tokens_per_s']['median'] / lockstep['tokens_per_s']['median']:.2f}")
        for cell, name in (((30, 50, True), "S = 30, R = 50, shared steps"), ((30, 0, False), "S = 30, R = 0"),
                           ((0, 0, False), "S = 0, R = 0")):
            for depth, m in pick(cell, "streamed").items():
                self.row(f"{name}, K = {depth}: streamed of plain", ranged(m["ratio"]))
        steered = [m for m in lines if m["mode"] != "plain"]
        different = sum(m["answers_different"] for m in steered)
        self.row("steered answers that are not those of both models in one process", f"{different} of {total(steered, 'answers')}",
                 "0", different == 0)

    # ---- proofs ----

    def proofs(self):
        """How many positions each K certifies when no more is asked for."""
        rows = self.spread_rows(2 if self.options.quick else self.options.proof_prompts)
        depths = (64,) if self.options.quick else CELLS[0, 0, False]
        lines = self.figures["proofs"] = []
        with self.engine() as port:
            for depth in depths:
                self.say(f"proofs at K = {depth}")
                results = [self.device.engine(row, port, "streamed", depth, self.n_tokens, "--constant-k")[0] for row in rows]
                lines.append({"depth": depth, "positions": total(results, "n_tokens"), "certified": total(results, "certified")})


# ---- what is printed ----

def print_cells(lines):
    print("\n| S ms | R ms | steps | K | mode | tokens/s | of plain | corrections | deepenings | unproved | up B | down B | "
          "reissue ms | ms/token | predicted | |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for m in lines:
        is_steered = m["mode"] != "plain"
        reissue = f"{m['reissue_us'] / 1e3:.1f}" if m["reissue_us"] is not None else ""
        steered = (f"{m['corrections'] * 100:.1f} %", f"{m['deepenings'] * 100:.1f} %", m["uncertified"]) if is_steered else ("",) * 3
        cells = [m["step_ms"], m["round_trip_ms"], "shared" if m["shared_steps"] else "own", m["depth"], m["mode"],
                 f"{m['tokens_per_s']['median']:.1f}", ranged(m["ratio"]), *steered, f"{m['bytes_up_per_token']:.0f}",
                 f"{m['bytes_down_per_token']:.0f}", reissue, f"{m['token_us'] / 1e3:.2f}",
                 f"{m['predicted_us'] / 1e3:.2f}", f"{m['difference'] * 100:+.1f} %" if is_steered else ""]
        print("| " + " | ".join(map(str, cells)) + " |")


def print_proofs(lines):
    print("\n| K | positions | proved | |\n|---|---|---|---|")
    for m in lines:
        print(f"| {m['depth']} | {m['positions']} | {m['certified']} | {m['certified'] / m['positions'] * 100:.1f} % |")


def parse(arguments):
    parser = argparse.ArgumentParser(description="Measure steering through llama-server; see scripts/bench.")
    for name in ("costeer", "llama-server", "net-proxy", "builtin-llm", "prompts"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--threads", type=int, default=1, help="of llama-server")
    parser.add_argument("--parallel", type=int, default=1, help="slots of llama-server")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--grid-prompts", type=int, default=6)
    parser.add_argument("--proof-prompts", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=44)
    parser.add_argument("--only", action="append", choices=PARTS)
    options = parser.parse_args(arguments)
    for name in ("rounds", "grid_prompts", "proof_prompts", "parallel"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    return options


def main(arguments):
    options = parse(arguments)
    bench = Bench(options)
    steps = {"grid": bench.grid, "proofs": bench.proofs}
    try:
        about = machine(types.SimpleNamespace(costeer=options.costeer, llm=options.builtin_llm, slm=options.builtin_llm))
        for part in options.only or PARTS:
            steps[part]()
    except Failed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    measure_net.print_table(bench, about)
    if "cells" in bench.figures:
        print_cells(bench.figures["cells"])
    if "proofs" in bench.figures:
        print_proofs(bench.figures["proofs"])
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump({"machine": about, "rounds": bench.rounds, **bench.figures, "table": bench.table}, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
