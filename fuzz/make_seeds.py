#!/usr/bin/env python3
"""Seeds of the fuzz targets, small enough that a mutation often hits something that matters.

    fuzz/make_seeds.py    write fuzz/corpus/{adapter,api,gguf,hub,policy,report,rows,split,sse,vocab} and the model of fuzz_adapter

The seeds of fuzz_wire are made from the golden vectors: tests/golden/make_wire.py.
"""
import hashlib
import json
import math
import pathlib
import struct

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"
RECORDED = CORPUS.parent.parent / "tests" / "engine" / "recorded"
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
    for name, *shape in tensors:
        out += string(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in shape) + struct.pack("<IQ", 0, offset)
        offset += (4 * math.prod(shape) + 31) // 32 * 32
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


# ---- LoRA adapters -----------------------------------------------------------------------------------------------------

ATTENTION = "blk.0.attn_q.weight"
ADAPTER_MODEL = gguf(
    [pair("general.architecture", STRING, "llama")],
    [("token_embd.weight", 8, 5), ("output.weight", 8, 5), (ATTENTION, 8, 8), ("output_norm.weight", 8)],
)


def adapter(tensors, **more):
    keys = {"general.type": (STRING, "adapter"), "general.architecture": (STRING, "llama"), "adapter.type": (STRING, "lora"),
            "adapter.lora.alpha": (F32, 2.0)}  # fmt: skip
    return gguf([pair(key, *data) for key, data in (keys | {k.replace("__", "."): v for k, v in more.items()}).items()], tensors)


SMALL_PAIR = [(ATTENTION + ".lora_a", 8, 2), (ATTENTION + ".lora_b", 2, 8)]
ADAPTERS = {
    "lora": adapter(SMALL_PAIR),
    "embedding": adapter([("token_embd.weight.lora_a", 2, 5), ("token_embd.weight.lora_b", 2, 8)]),
    "no-second": adapter(SMALL_PAIR[:1]),
    "norm": adapter([*SMALL_PAIR, ("output_norm.weight", 8)]),
    "other-kind": adapter(SMALL_PAIR, adapter__type=(STRING, "control_vector")),
    "activated": adapter(SMALL_PAIR, adapter__alora__invocation_tokens=(ARRAY, [1, 2], U32)),
    "model": ADAPTER_MODEL,
}


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


# ---- rows of an evaluation; every text begins with what fuzz_rows looks for in messages --------------------------------

RECORD = {"title": "Zq7 t", "abstract": "Zq7 a", "description": "Zq7 d", "reviewText": "Zq7 r", "summary": "Zq7 s", "content": "Zq7 c"}
ROWS = {
    "paired": {"id": 1, "input": "Zq7 mail", "personalized_input": "Zq7 I am Ann. Zq7 mail", "output": "Zq7 Hi"},
    "paired-elsewhere": {"tid": "t", "input": "Zq7 mail", "personalized_input": "Zq7 I am Ann."},
    "records": {"index": 1.5, "input": "Zq7 go", "top_5": [RECORD] * 6, "output": "Zq7 out"},
    "preference": {"question": "Zq7 why?"},
    "fields": {"id": "x", "query": "Zq7 q", "context": "Zq7 c {query}", "output": None, "facts": ["Zq7 f", "\u00e9\U0001f600"]},
    "named-fields": {"index": 3, "input": "Zq7 q", "output": "Zq7 c", "context": "Zq7 r", "top_5": ["Zq7 f"]},
    "labelled": {"id": "l", "split": "dev", "query": "Zq7 q", "context": "Zq7 I am Ann. Zq7 ill.", "writer": ["Zq7 Ann"], "addressee": [],
                 "parts": [{"note": "Zq7 I am Ann.", "label": "needed", "any": ["Zq7 Ann"]}, {"note": "ill", "label": "inappropriate"}]},
    "labelled-elsewhere": {"id": 4, "query": "Zq7 q", "context": "Zq7 c", "parts": [{"statement": "Zq7 c", "label": "fine", "strings": []}]},
    "labelled-wrong": {"query": "Zq7 q", "context": "Zq7 c", "parts": [{"note": "Zq7 x", "label": "Zq7", "any": "Zq7"}, 7]},
    "wrong-types": {"id": [], "input": {}, "top_5": [{"title": 1}], "facts": "Zq7"},
    "empty": {},
}


# ---- the files of a run ------------------------------------------------------------------------------------------------

HOSTILE = "<script>alert('1')</script>\"x\"&amp; `|*_ \u202e\u0001 \r\n</p></style>"


def item(label, **more):
    return {"label": label, "method": label.split()[0], "parameter": None, "value": None, "strength": 0, "shows_context": False} | more


def result(row, label, **more):
    metrics = {"rouge1": 0.5, "rougeL": None, "bleu": 12.5, "distinct1": 1, "context_recall": 0.25, "fact_recall": 1}
    line = {"row": row, "label": label, "answer": HOSTILE, "n_tokens": 5, "n_steered": 2, "exposure": 1.5, "truncated": True,
            "judge": {"logprob": -9.5, "n_tokens": 5}, "metrics": metrics}  # fmt: skip
    return line | more


def run(items, results, bad=(), **more):
    head = {"costeer": "1", "task": HOSTILE, "preference": HOSTILE, "data": {"name": HOSTILE, "sha256": "0"}, "items": items, "seed": 1,
            "models": {"llm": {"name": HOSTILE, "vocab_sha256": "0"}, "slm": None, "judge": {"name": "j"}}, "cloud": "local", "jobs": 2,
            "gate": {"kind": HOSTILE, "threshold": 0.1, "patience": 3}, "vocab": HOSTILE, "limit": None, "ctx_size": 0, "max_tokens": 9}  # fmt: skip
    lines = ["".join(json.dumps(line) + "\n" for line in part) for part in (results, bad)]
    return "\x1e".join([json.dumps(head | more), *lines])


SWEEP = [item(f"costeer strength={v} {HOSTILE}", parameter="strength", value=v, strength=v) for v in (0, 0.5, 1)]
TWO = [item("llm"), item(HOSTILE, shows_context=True)]
RUNS = {
    "two": run(TWO, [result(row, i["label"]) for row in ("a", HOSTILE) for i in TWO], [{"line": 3, "row": HOSTILE, "reason": HOSTILE}]),
    "sweep": run(SWEEP, [result(row, i["label"], n_tokens=n) for n, row in enumerate("abc") for i in SWEEP]),
    "nothing-measured": run(TWO[:1], [result("a", "llm", metrics={}, judge=None, exposure=None)], [{"line": 1, "row": None, "reason": "r"}]),
    "cut": run(TWO[:1], [result(row, "llm") for row in "ab"])[:-3],
    "other-types": run(TWO[:1], [result("a", "llm")], data=[], models="m", gate=7, task=None, jobs="x", limit={}, vocab=True),
    "empty": "{}\x1e\x1e",
}


# ---- changes to a file of vocabulary tables: see fuzz_vocab.c ----------------------------------------------------------

VOCAB = {
    "none": b"\0",
    "header": bytes([0, 0, 8, 0, 2, 1, 1, 7, 0, 3]),
    "sizes": bytes([2, 1, 6, 0, 4, 1, 7, 0, 6]),
    "tables": bytes([1, 1, 30, 0, 4, 2, 40, 0, 3, 1, 70, 0, 7]),
    "tree": bytes([2, 1, 90, 0, 8, 2, 110, 0, 255, 2, 120, 0, 1]),
    "shorter": bytes([1, 3, 144, 0, 0]),
    "longer": bytes([2, 4, 0, 0, 0]),
}


# ---- what engines answer: those of tests/engine/recorded, behind the question; see fuzz_api.c and fuzz_sse.c -----------

LLAMA, VLLM, SGLANG, OPENAI = range(4)
STREAM, FORCED = 4, 8


def question(dialect, kind=0, drafts=0, length=2, top_k=3, kept=31):
    return bytes([dialect | kind, drafts | length << 2, top_k | kept << 3])


def recorded(name):
    data = (RECORDED / name).read_bytes().strip()
    events = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: {")]
    return b"\n".join(events or [data])


def top(*entries):
    return [{"id": i, "token": "t", "bytes": [116], "logprob": value} for i, value in entries]


def llama_event(n_predicted, token, **more):
    line = {"content": "t", "tokens": [token], "stop": False, "tokens_predicted": n_predicted,
            "completion_probabilities": [{"id": token, "logprob": -0.1, "top_logprobs": top((token, -0.1), (5, -3.4e38), (6, -2.5))}]}  # fmt: skip
    return json.dumps(line | more).encode()


def llama_events(*numbers):
    """Events of so many positions each."""
    entry = {"id": 300, "top_logprobs": [{"id": 300, "logprob": -0.5}]}
    return b"\n".join(json.dumps({"completion_probabilities": [entry | {"id": 300 + i} for i in range(n)]}).encode() for n in numbers)


LLAMA_END = b'{"content":"","tokens":[],"stop":true,"id_slot":1,"tokens_evaluated":21,"timings":{"cache_n":20}}'
WORDS = {"tokens": ["ere", "bytes:\\xe2"], "top_logprobs": [{"ere": -0.2, "bytes:\\xe2": -2, "<|im_end|>": -3}, {"ere": -9999, "bytes:\\xe2": 0}]}
API = {
    "llama-answer": question(LLAMA, FORCED) + llama_event(1, 300, stop=True, id_slot=0),
    "llama-stream": question(LLAMA, STREAM, kept=0) + b"\n".join([llama_event(1, 300), llama_event(4, 494), LLAMA_END]),
    "llama-ring": question(LLAMA, STREAM, kept=2) + llama_events(6, 4, 9),
    "vllm-answer": question(VLLM, STREAM) + recorded("vllm_answer.json"),
    "vllm-strings": question(VLLM, STREAM) + recorded("vllm_answer_strings.json"),
    "vllm-batch": question(VLLM, drafts=2) + recorded("vllm_batch.json"),
    "vllm-stream": question(VLLM, STREAM, kept=1) + recorded("vllm_stream.sse"),
    "vllm-error": question(VLLM) + recorded("vllm_error_model.json"),
    "sglang-drafts": question(SGLANG, drafts=2) + recorded("sglang_drafts.json"),
    "sglang-stream": question(SGLANG, STREAM) + recorded("sglang_stream.sse"),
    "sglang-incremental": question(SGLANG, STREAM, top_k=1) + recorded("sglang_stream_incremental.sse"),
    "sglang-abort": question(SGLANG, STREAM) + b'{"meta_info":{"finish_reason":{"type":"abort","message":"m"}}}',
    "sglang-error": question(SGLANG, STREAM) + recorded("sglang_error_ids.sse"),
    "openai-answer": question(OPENAI, STREAM, top_k=2) + recorded("openai_answer.json"),
    "openai-words": question(OPENAI, STREAM) + json.dumps({"choices": [{"text": "ere", "finish_reason": "stop", "logprobs": WORDS}]}).encode(),
    "openai-content": question(OPENAI, STREAM) + recorded("openai_answer_content.json"),
    "openai-content-ids": question(OPENAI, STREAM) + recorded("openai_answer_content_ids.json"),
    "openai-token-ids": question(OPENAI, STREAM) + recorded("openai_answer_token_ids.json"),
    "message": question(OPENAI) + '{"detail":"é€😀é€😀é€😀\\n"}'.encode(),
    "openai-none": question(OPENAI) + recorded("openai_answer_none.json"),
}


def stream(text, cap=6, cut=0x1234):
    return bytes([cap, cut & 255, cut >> 8]) + (text if isinstance(text, bytes) else text.encode())


SSE = {
    "recorded": stream((RECORDED / "openai_stream.sse").read_bytes()),
    "line-ends": stream("data: a\r\rdata: b\r\n\r\ndata: c\n\ndata: d\r\n\ndata:e\n\r"),
    "fields": stream("\ufeffevent: x\ndata: a\nid: 1\ndata\n:comment\nretry: 3\ndata:  b\ndatab: c\n\ndata\n\ndata\ndata\n\ndata:"),
    "too-long": stream("data: 123456\ndata: 7\n\n", cap=3),
    "event-too-long": stream("data:1\ndata:2\ndata:3\ndata:4\ndata:5\n\ndata: 1\n\n", cap=3),
    "nothing-fits": stream("\n\n:\n", cap=0),
}

SPLIT = {
    "prose": "I am Mia. I live in Cologne! Dr. Brandt said: \"No.\" 我住在上海。我怕狗！\n\nA line that is long enough to be wrapped at\nits end. Short.",
    "lists": "# Party\n\nBring:\n- milk\n  - rye\n    dark\n1) wine\n\n## Guests\n* Anna\nName: Bob\nseat = 4\n姓名：李雷\n---\n",
    "forms": "```\nint x;\n\n```\n| a | b |\n|---|---|\n| 1 | 2 |\n\nFrom: Ann\nTo: Bob\n Smith\n\nHi. Yes.\n{\"a\": 1}\n{\"b\": [2]}\n",
    "json": json.dumps({"people": [{"name": f"person {i}", "note": "long " * 12} for i in range(5)], "n": [1, {}, [], "\\\""]}),
    "many": "a. B.\n- c\n" * 1500,
}


# ---- what a hub answers to a pull, behind a byte for the name that is pulled; see fuzz_hub.c ----------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ANY, Q8, PART, PINNED = range(4)
STORAGE, TOKEN = 4, 8
REVISION = {"id": "o/r", "sha": COMMIT, "siblings": [{"rfilename": "m-Q4_K_M.gguf"}], "gated": False, "tags": ["gguf"]}


def response(body=b"", status=200, **headers):
    head = f"HTTP/1.1 {status:03} x\n" + "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in headers.items())
    return head.encode() + b"\n" + (body if isinstance(body, bytes) else json.dumps(body).encode())


def file_item(path, data, **more):
    lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return {"type": "file", "oid": "0" * 40, "size": len(data), "path": path, "lfs": lfs} | more


def git_item(path, data):
    return {"type": "file", "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(), "size": len(data), "path": path}


def pull(what, *responses):
    return bytes([what]) + b"\x1e".join(responses)


PARTS = [file_item(f"m-0000{i}-of-00002.gguf", b"GGUF%d" % i) for i in (1, 2)]
TREE = [{"type": "directory", "oid": "1" * 40, "size": 0, "path": "sub"}, git_item("README.md", b"r"), git_item("m-Q8_0.gguf", b"GGUF8"),
        file_item("sub/m-Q4_K_M.gguf", b"GGUF4444"), file_item("mmproj-m.gguf", b"GGUFm")]  # fmt: skip
HUB = {
    "whole": pull(ANY, response(REVISION), response(TREE), response(b"GGUF4444")),
    "git": pull(Q8, response(REVISION), response(TREE), response(b"GGUF8")),
    "pinned": pull(PINNED, response(REVISION), response(TREE), response(b"GGUF4444")),
    "parts": pull(PART, response(REVISION), response(PARTS), response(b"GGUF1"), response(b"GGUF2")),
    "resumed": pull(STORAGE, response(REVISION), response(TREE), response(b"GGUF"), response(status=0), response(status=503, Retry_After="1"), response(status=403),
                    response(b"4444", status=206, Content_Range="bytes 4-7/8")),
    "again": pull(ANY, response(REVISION), response(TREE), response(b"GGUF"), response(status=1), response(b"GGUF4444")),
    "wrong-range": pull(ANY, response(REVISION), response(TREE), response(b"GGUF"), response(b"4444", status=206, Content_Range="bytes 5-8/9")),
    "wrong-hash": pull(ANY, response(REVISION), response(TREE), response(b"GGUF5555")),
    "too-long": pull(ANY, response(REVISION), response(TREE), response(b"GGUF44445")),
    "pages": pull(Q8, response(REVISION), response(TREE[:2], Link='<https://hub.example/0>; rel="prev", <https://hub.example/2>; rel="next"'),
                  response(TREE[2:]), response(b"GGUF8")),
    "gated": pull(ANY, response({"error": "no"}, status=403, X_Error_Code="GatedRepo", X_Error_Message="no")),
    "private": pull(TOKEN, response(status=401)),
    "no-revision": pull(ANY, response(status=404, X_Error_Code="RevisionNotFound")),
    "too-many": pull(ANY, response(status=429, Retry_After="7")),
    "later": pull(ANY, response(REVISION), response(status=429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")),
    "paths": pull(ANY, response(REVISION), response([file_item(path, b"GGUF") for path in ("../a.gguf", "/a.gguf", "a/../b.gguf", "a\\b.gguf", "\x9b.gguf", "a//b.gguf")])),
    "sizes": pull(ANY, response(REVISION), response([file_item("a.gguf", b"GGUF") | {"lfs": {"oid": "0" * 64, "size": 2**63 - 1}}])),
    "many-parts": pull(ANY, response(REVISION), response([file_item("m-00001-of-99999.gguf", b"GGUF")])),
    "two-heads": pull(ANY, response(b"", status=100, X_Error_Code="GatedRepo")[:-1] + response(REVISION), response(TREE), response(b"GGUF4444")),
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
    files |= {f"adapter/{name}": data for name, data in ADAPTERS.items()} | {"../adapter_model.gguf": ADAPTER_MODEL}
    files |= {f"rows/{name}": json.dumps(data).encode() for name, data in ROWS.items()} | {"rows/no-json": b'{"id": "Zq7'}
    files |= {f"report/{name}": text.encode() for name, text in RUNS.items()}
    files |= {f"vocab/{name}": data for name, data in VOCAB.items()}
    files |= {f"api/{name}": data for name, data in API.items()} | {f"sse/{name}": data for name, data in SSE.items()}
    files |= {f"hub/{name}": data for name, data in HUB.items()}
    files |= {f"split/{name}": text.encode() for name, text in SPLIT.items()}
    for name, data in files.items():
        path = CORPUS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


main()
