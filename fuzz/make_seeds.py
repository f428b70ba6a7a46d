#!/usr/bin/env python3
"""Seeds of fuzz_gguf and fuzz_policy, small enough that a mutation often hits something that matters.

    fuzz/make_seeds.py    write fuzz/corpus/gguf and fuzz/corpus/policy

The seeds of fuzz_wire are made from the golden vectors: tests/golden/make_wire.py.
"""
import json
import pathlib
import struct

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"
U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5


# ---- GGUF, version 3 ---------------------------------------------------------------------------------------------------


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, data):
    if kind == STRING:
        return string(data)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<B"}[kind], data)


def pair(key, kind, data, of=None):
    out = string(key) + struct.pack("<I", kind)
    if kind == ARRAY:
        return out + struct.pack("<IQ", of, len(data)) + b"".join(value(of, d) for d in data)
    return out + value(kind, data)


def gguf(pairs, tensors):
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs)
    offset = 0
    for name, n in tensors:
        out += string(name) + struct.pack("<IQIQ", 1, n, 0, offset)
        offset += (4 * n + 31) // 32 * 32
    return out + bytes(-len(out) % 32) + bytes(offset)


def model(architecture, **more):
    tokens = ["<unk>", "<s>", "</s>", "a", "b"]
    pairs = [
        pair("general.architecture", STRING, architecture),
        pair(architecture + ".context_length", U32, 64),
        pair(architecture + ".embedding_length", U32, 8),
        pair(architecture + ".block_count", U32, 1),
        pair(architecture + ".feed_forward_length", ARRAY, [16, 16], I32),
        pair(architecture + ".attention.head_count", U32, 2),
        pair("tokenizer.ggml.model", STRING, "llama"),
        pair("tokenizer.ggml.tokens", ARRAY, tokens, STRING),
        pair("tokenizer.ggml.scores", ARRAY, [0.0] * len(tokens), F32),
        pair("tokenizer.ggml.token_type", ARRAY, [2, 3, 3, 1, 1], I32),
        pair("tokenizer.ggml.add_bos_token", BOOL, 1),
    ]
    pairs += [pair(architecture + "." + key.replace("__", "."), *data) for key, data in more.items()]
    return gguf(pairs, [("token_embd.weight", 40), ("output_norm.weight", 8)])


# ---- cases of `costeer policy` -----------------------------------------------------------------------------------------


def case(**more):
    base = {"T": 20, "alpha": 2, "beta": 1, "lambda_": 2, "eta": 10, "llm": [1, 2, 3], "slm_without": [1, 1, 1], "slm_with": [3, 1, 1]}
    return base | more


POLICIES = {
    "case": case(),
    "minus-infinity": case(llm=["-inf", -1.5, 0.25e1]),
    "cases": {"cases": [case(), case(T=1, alpha=0)]},
    "no-choice": case(llm=["-inf", "-inf", "-inf"]),
    "lengths-differ": case(slm_with=[1, 2]),
    "wrong-types": case(T="20", llm={}),
    "too-large": case(llm=[1e39, 0, 0]),
    "extremes": case(T=1000000, lambda_=1e-300, eta=1e300, beta=-1e300),
    "empty": {},
}


def main():
    files = {
        "gguf/llama": model("llama"),
        "gguf/experts": model("llama", expert_count=(U32, 4), expert_used_count=(U32, 2)),
        "gguf/rope": model("qwen2", rope__scaling__type=(STRING, "yarn"), attention__head_count_kv=(U32, 1)),
        "gguf/bert": model("bert", attention__causal=(BOOL, 0)),
        "gguf/nothing-in-it": gguf([], []),
        "gguf/only-the-magic": b"GGUF",
    }
    files |= {f"policy/{name}": json.dumps(data).encode() for name, data in POLICIES.items()}
    for name, data in files.items():
        path = CORPUS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


main()
