#!/usr/bin/env python3
"""Golden bytes of the protocol costeer.v1, made from docs/protocol.md and not from the C code.

    tests/golden/make_wire.py            write tests/golden/wire.json and the seeds in fuzz/corpus/wire
    tests/golden/make_wire.py --check    change nothing; exit 1 when a file differs

A vector is a frame (fields named as in include/costeer/wire.h), who sends it, the vocabulary's size and the bytes in hex.
A seed is a byte that tells fuzz/fuzz_wire.c the direction and the vocabulary, then one or more frames.
"""
import json
import math
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
SEEDS = HERE.parent.parent / "fuzz" / "corpus" / "wire"
QWEN = 151936
FUZZ_VOCABS = [0, 1, 2, 5, 300, 5000, QWEN, 1048576]  # as in fuzz/fuzz_wire.c


# ---- fields ------------------------------------------------------------------------------------------------------------


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def f32(value):
    return struct.pack("<f", value)


def rounded(value):
    """The nearest float32."""
    return struct.unpack("<f", f32(value))[0]


def text(value):
    data = value.encode()
    return varint(len(data)) + data


def packed(ids, n_vocab):
    """All ids as one big number, the first one lowest."""
    width = (n_vocab - 1).bit_length()
    number = sum(token << (width * i) for i, token in enumerate(ids))
    return number.to_bytes((width * len(ids) + 7) // 8, "little")


def sorted_values(values, form):
    """The first rank, then differences, Rice-coded: bits in order of value, the lowest of a byte first."""
    width = 16 if form == 1 else 31
    if form == 1:
        ranks = [math.floor(-v * 2048 + 0.5) for v in values]
    else:
        ranks = [struct.unpack("<I", struct.pack("<f", v))[0] & 0x7FFFFFFF for v in values]

    def coded(k):
        bits = [ranks[0] >> i & 1 for i in range(width)]
        for before, rank in zip(ranks, ranks[1:]):
            quotient, remainder = divmod(rank - before, 1 << k)
            if quotient < 8:
                bits += [1] * quotient + [0] + [remainder >> i & 1 for i in range(k)]
            else:
                bits += [1] * 8 + [rank - before >> i & 1 for i in range(width)]
        return bits

    k = min(range(width), key=lambda k: (len(coded(k)), k))
    number = sum(bit << i for i, bit in enumerate(coded(k)))
    return bytes([k]) + number.to_bytes((len(coded(k)) + 7) // 8, "little")


# ---- frames ------------------------------------------------------------------------------------------------------------


def hello(f, _):
    return (
        b"\x01" + varint(f["version"]) + varint(f["n_vocab"]) + bytes.fromhex(f["vocab_sha256"]) + varint(f["max_context"])
        + varint(f["max_window"]) + varint(f["max_drafts"]) + text(f["name"])
    )


def open_(f, n_vocab):
    flags = (1 if f["half"] else 0) | (2 if "messages" in f else 0)
    out = bytes([0x02, f["mode"], flags]) + varint(f["window"]) + varint(f["top_k"]) + varint(f["max_tokens"])
    if "messages" in f:
        out += varint(len(f["messages"]))
        out += b"".join(text(m["role"]) + text(m["text"]) for m in f["messages"])
    else:
        out += varint(len(f["prompt"])) + packed(f["prompt"], n_vocab)
    return out + varint(len(f["accepted"])) + packed(f["accepted"], n_vocab)


def distribution(f, n_vocab):
    out = bytes([0x03, f["form"]]) + varint(f["epoch"]) + varint(f["position"]) + varint(f["compute_us"])
    values = [-math.inf if v == "-inf" else v for v in f["values"]]
    if f["form"] == 2:
        return out + varint(f["own_token"]) + b"".join(map(f32, values))
    out += varint(len(f["ids"])) + f32(-math.inf if f["tail"] == "-inf" else f["tail"]) + packed(f["ids"], n_vocab)
    return out + sorted_values(values, f["form"])


def commit(f, _):
    return b"\x04" + varint(f["position"])


def correct(f, _):
    return b"\x05" + varint(f["epoch"]) + varint(f["position"]) + varint(f["token"])


def draft(f, n_vocab):
    return b"\x06" + varint(f["position"]) + varint(len(f["tokens"])) + packed(f["tokens"], n_vocab)


def deepen(f, _):
    return b"\x07" + varint(f["epoch"]) + varint(f["position"]) + varint(f["top_k"])


def close(f, _):
    return b"\x08" + varint(f["n_steps"]) + varint(f["n_wasted"]) + varint(f["n_rollbacks"])


def error(f, _):
    return bytes([0x09, f["code"]]) + varint(f["retry_after_ms"]) + text(f["message"])


def ping(f, _):
    return bytes([0x0A, 1 if f["is_reply"] else 0]) + struct.pack("<I", f["nonce"])


ENCODERS = {
    "hello": hello, "open": open_, "distribution": distribution, "commit": commit, "correct": correct, "draft": draft,
    "deepen": deepen, "close": close, "error": error, "ping": ping,
}  # fmt: skip


# ---- vectors -----------------------------------------------------------------------------------------------------------

VECTORS = []


def add(name, sender, n_vocab, kind, /, **fields):
    data = ENCODERS[kind](fields, n_vocab)
    VECTORS.append(
        {"name": name, "from_node": sender == "node", "n_vocab": n_vocab, "type": kind, "frame": fields, "hex": data.hex()}
    )


def add_hellos():
    digest = bytes(range(32)).hex()
    add("hello", "node", 0, "hello", version=1, n_vocab=QWEN, vocab_sha256=digest, max_context=8192, max_window=32, max_drafts=8,
        name="Qwen2.5 7B Instruct")
    add("hello without a name", "node", 0, "hello", version=1, n_vocab=1, vocab_sha256="00" * 32, max_context=1, max_window=0,
        max_drafts=0, name="")
    add("hello at its limits", "node", 0, "hello", version=1, n_vocab=1048576, vocab_sha256="ff" * 32, max_context=1048576,
        max_window=256, max_drafts=32, name="\u00e9" * 64)


def add_opens():
    base = {"mode": 0, "window": 0, "top_k": 64, "max_tokens": 128, "half": False, "accepted": []}
    add("open in lockstep", "device", QWEN, "open", **base, prompt=[9707, 11, 1879, 0, 151935])
    add("open streamed with halves", "device", QWEN, "open", **base | {"mode": 1, "window": 32, "half": True}, prompt=[1])
    add("open drafted, dense", "device", QWEN, "open", **base | {"mode": 2, "top_k": 0}, prompt=[1, 2, 3, 4])
    add("open again", "device", QWEN, "open", **base | {"accepted": [151644, 77, 100000]}, prompt=[5, 6, 7])
    add("open with messages", "device", QWEN, "open", **base,
        messages=[{"role": "system", "text": ""}, {"role": "user", "text": "Gr\u00fc\u00dfe,\nwhat is 2+2?"}])
    add("open with messages and accepted tokens", "device", 300, "open", **base | {"accepted": [299, 0, 255], "mode": 1, "window": 256},
        messages=[{"role": "user", "text": "Hi"}])
    add("open at a vocabulary of one", "device", 1, "open", **base | {"top_k": 1, "accepted": [0, 0]}, prompt=[0, 0, 0])
    add("open at the largest vocabulary", "device", 1048576, "open", **base | {"top_k": 1048576, "max_tokens": 1048576},
        prompt=[1048575, 0, 524288])


def entries(n, n_vocab):
    ids = [(i * 7919 + 13) % n_vocab for i in range(n)]
    values = [rounded(-1.5 - 0.3 * i) for i in range(n)]
    return {"ids": ids, "values": values, "own_token": ids[0], "tail": rounded(math.log(1 - sum(map(math.exp, values))))}


def add_distributions():
    at = {"epoch": 0, "position": 0, "compute_us": 31000}
    small = {"ids": [151935, 0, 77, 78], "own_token": 151935, "tail": rounded(-4.25)}
    exact = [rounded(v) for v in (-0.25, -2.0, -3.1415927, -31.5)]
    halves = [v / 2048 for v in (-512, -4096, -6434, -65515)]
    add("exact", "node", QWEN, "distribution", form=0, **at, **small, values=exact)
    add("halves", "node", QWEN, "distribution", form=1, **at, **small, values=halves)
    add("exact with 64 entries", "node", QWEN, "distribution", form=0, **at | {"epoch": 130, "position": 513}, **entries(64, QWEN))
    wide = entries(64, QWEN)
    wide["values"] = [-math.floor(-v * 2048 + 0.5) / 2048 for v in wide["values"]]
    add("halves with 64 entries", "node", QWEN, "distribution", form=1, **at | {"epoch": 130, "position": 513}, **wide)
    add("one certain token", "node", QWEN, "distribution", form=0, **at, ids=[42], own_token=42, tail="-inf", values=[0.0])
    add("one certain token in 16 bits", "node", QWEN, "distribution", form=1, **at, ids=[42], own_token=42, tail="-inf",
        values=[0.0])
    add("a vocabulary of one", "node", 1, "distribution", form=0, **at, ids=[0], own_token=0, tail="-inf", values=[0.0])
    add("all of a vocabulary, equal", "node", 2, "distribution", form=0, **at, ids=[1, 0], own_token=1, tail="-inf",
        values=[rounded(-math.log(2))] * 2)
    add("largest numbers", "node", 1048576, "distribution", form=0, epoch=2147483647, position=1048575, compute_us=4294967295,
        ids=[1048575], own_token=1048575, tail=-0.5, values=[-1.0])
    add("dense", "node", 5, "distribution", form=2, **at, own_token=3, tail="-inf",
        values=[-3.0, "-inf", -100.0, -0.25, rounded(-1.9)])
    add("dense, one token", "node", 1, "distribution", form=2, **at, own_token=0, tail="-inf", values=[0.0])


def add_small():
    for position in (0, 127, 128, 16383, 16384, 1048575):
        add(f"commit {position}", "device", QWEN, "commit", position=position)
    add("correct", "device", QWEN, "correct", epoch=1, position=0, token=0)
    add("correct late", "device", QWEN, "correct", epoch=200, position=1000, token=151935)
    add("correct at the limits", "device", 1048576, "correct", epoch=2147483647, position=1048575, token=1048575)
    add("draft of one", "device", QWEN, "draft", position=1, tokens=[17])
    add("draft of five", "device", QWEN, "draft", position=300, tokens=[17, 151935, 0, 99999, 17])
    add("draft of 32", "device", 300, "draft", position=9, tokens=[i * 9 for i in range(32)])
    add("deepen", "device", QWEN, "deepen", epoch=3, position=70, top_k=512)
    add("deepen to all", "device", QWEN, "deepen", epoch=0, position=0, top_k=0)
    add("close", "device", QWEN, "close", n_steps=0, n_wasted=0, n_rollbacks=0)
    add("account", "node", QWEN, "close", n_steps=412, n_wasted=130, n_rollbacks=41)
    add("account at the limits", "node", QWEN, "close", n_steps=4294967295, n_wasted=4294967295, n_rollbacks=4294967295)
    add("error protocol", "node", QWEN, "error", code=1, retry_after_ms=0, message="commit: position 9 was not delivered")
    add("error busy", "node", 0, "error", code=2, retry_after_ms=1500, message="64 answers are open")
    add("error of a device", "device", QWEN, "error", code=7, retry_after_ms=4294967295, message="")
    add("ping", "device", QWEN, "ping", is_reply=False, nonce=0)
    add("pong", "node", 0, "ping", is_reply=True, nonce=0xDEADBEEF)


# ---- files -------------------------------------------------------------------------------------------------------------


def table():
    head = {"about": "Made by make_wire.py; see docs/protocol.md.", "version": 1}
    lines = ",\n".join("  " + json.dumps(v) for v in VECTORS)
    return (json.dumps(head)[:-1] + ', "vectors": [\n' + lines + "\n]}\n").encode()


def seeds():
    """Every vector of a vocabulary that the fuzzer knows, and two messages of several frames."""
    files = {}
    for v in VECTORS:
        if v["n_vocab"] in FUZZ_VOCABS:
            selector = FUZZ_VOCABS.index(v["n_vocab"]) << 1 | v["from_node"]
            name = v["name"].replace(",", "").replace(" ", "-")
            files[name] = bytes([selector]) + bytes.fromhex(v["hex"])
    selector = bytes([FUZZ_VOCABS.index(QWEN) << 1])
    files["correct-and-draft"] = selector + correct(dict(epoch=1, position=4, token=9), QWEN) + draft(
        dict(position=5, tokens=[1, 2, 3]), QWEN)
    files["commit-and-draft"] = selector + commit(dict(position=4), QWEN) + draft(dict(position=5, tokens=[8]), QWEN)
    return files


def main():
    add_hellos()
    add_opens()
    add_distributions()
    add_small()
    wanted = {HERE / "wire.json": table()} | {SEEDS / name: data for name, data in seeds().items()}
    if "--check" in sys.argv[1:]:
        stale = [str(p) for p, data in wanted.items() if not p.exists() or p.read_bytes() != data]
        stale += [str(p) for p in SEEDS.glob("*") if p not in wanted]
        if stale:
            sys.exit("differs from what make_wire.py makes: " + ", ".join(stale))
        return
    SEEDS.mkdir(parents=True, exist_ok=True)
    for old in SEEDS.glob("*"):
        old.unlink()
    for path, data in wanted.items():
        path.write_bytes(data)


main()
