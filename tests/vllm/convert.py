#!/usr/bin/env python3
"""A GGUF file as vLLM reads models: config.json, model.safetensors, tokenizer files; and the same numbers as a GGUF of our own.

    convert.py MODEL.gguf FOLDER [--dtype bfloat16|float32]

FOLDER gets the Hugging Face files and `same.gguf`, which holds the very numbers of the safetensors as F32: what llama.cpp computes from
it differs from what vLLM computes by rounding only. Architectures: qwen2, and llama with a byte-level BPE vocabulary (SmolLM2).
"""
import argparse
import json
import pathlib

import gguf
import numpy
import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

CONTROL, UNUSED, NORMAL = 3, 5, 1  # tokenizer.ggml.token_type

# https://github.com/openai/tiktoken's cl100k_base, with single digits: what llama.cpp calls "qwen2"
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")  # fmt: skip

BLOCKS = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def field(reader, name, default=None):
    found = reader.get_field(name)
    return default if found is None else found.contents()


def rename(name):
    """token_embd.weight → model.embed_tokens.weight"""
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{BLOCKS[parts[2]]}.{parts[3]}"
    return f"{TOP[parts[0]]}.{parts[1]}"


def unpermute(weight, n_heads):
    """llama.cpp's converter interleaves the halves of each head of Llama's queries and keys; this undoes it."""
    shape = weight.shape
    return weight.reshape(n_heads, shape[0] // n_heads // 2, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def config_of(reader, arch, has_output, n_vocab, dtype):
    def get(name, default=None):
        return field(reader, f"{arch}.{name}", default)

    n_heads = get("attention.head_count")
    return {
        "architectures": [{"qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM"}[arch]],
        "model_type": arch, "vocab_size": n_vocab, "hidden_size": get("embedding_length"),
        "intermediate_size": get("feed_forward_length"), "num_hidden_layers": get("block_count"), "num_attention_heads": n_heads,
        "num_key_value_heads": get("attention.head_count_kv", n_heads), "max_position_embeddings": get("context_length"),
        "rms_norm_eps": get("attention.layer_norm_rms_epsilon"), "rope_theta": get("rope.freq_base", 10000.0),
        "hidden_act": "silu", "tie_word_embeddings": not has_output, "torch_dtype": dtype,
        "bos_token_id": field(reader, "tokenizer.ggml.bos_token_id"), "eos_token_id": field(reader, "tokenizer.ggml.eos_token_id"),
    }  # fmt: skip


def write_tokenizer(reader, folder):
    tokens = field(reader, "tokenizer.ggml.tokens")
    types = field(reader, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ", 1)) for merge in field(reader, "tokenizer.ggml.merges")]
    vocab = {token: i for i, (token, kind) in enumerate(zip(tokens, types)) if kind == NORMAL}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    kind = field(reader, "tokenizer.ggml.pre")
    if kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
        split = pre_tokenizers.Split(Regex(QWEN2), "isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    elif kind == "smollm":
        split = pre_tokenizers.Digits(individual_digits=True)
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    else:
        raise SystemExit(f"pre-tokenizer {kind} is not known here")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    # in order of id, so that each gets the id that it has in the GGUF
    added = [(i, tokens[i], types[i]) for i in range(len(tokens)) if types[i] not in (NORMAL, UNUSED)]
    body = json.loads(tokenizer.to_str())
    body["added_tokens"] = [
        {"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": kind == CONTROL}
        for i, text, kind in added
    ]  # fmt: skip
    for i, text, _ in added:  # Hugging Face's own files have them in the model's vocabulary, or behind it; either gives these ids
        body["model"]["vocab"].setdefault(text, i)
    (folder / "tokenizer.json").write_text(json.dumps(body, ensure_ascii=False), encoding="utf-8")
    end = tokens[field(reader, "tokenizer.ggml.eos_token_id")]
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "clean_up_tokenization_spaces": False,
                "add_bos_token": False, "add_prefix_space": False, "model_max_length": 32768}  # fmt: skip
    if template := field(reader, "tokenizer.chat_template"):
        settings["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def write_same_gguf(reader, arch, tensors, path):
    """All that the source says of itself, with other numbers behind it."""
    writer = gguf.GGUFWriter(path, arch)
    for name, value in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type", "general.quantization_version"):
            continue
        kind = value.types[0]
        sub = value.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, value.contents(), kind, sub)
    for name, value in tensors:
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    dtype = {"bfloat16": torch.bfloat16, "float32": torch.float32}[options.dtype]
    reader = gguf.GGUFReader(options.model)
    arch = field(reader, "general.architecture")
    n_heads = field(reader, f"{arch}.attention.head_count")
    n_kv_heads = field(reader, f"{arch}.attention.head_count_kv", n_heads)
    theirs, ours = {}, []
    for tensor in reader.tensors:
        if tensor.name == "rope_freqs.weight":
            continue
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        rounded = torch.from_numpy(numpy.ascontiguousarray(values)).to(dtype)
        ours.append((tensor.name, rounded.to(torch.float32).numpy()))
        if arch == "llama" and ".attn_q." in tensor.name:
            rounded = unpermute(rounded, n_heads)
        if arch == "llama" and ".attn_k." in tensor.name:
            rounded = unpermute(rounded, n_kv_heads)
        theirs[rename(tensor.name)] = rounded.contiguous()
    n_vocab = theirs["model.embed_tokens.weight"].shape[0]
    save_file(theirs, options.folder / "model.safetensors", metadata={"format": "pt"})
    config = config_of(reader, arch, "lm_head.weight" in theirs, n_vocab, options.dtype)
    (options.folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    # as Qwen's own file has it: an engine that applies it steers another model than the one it was asked for
    (options.folder / "generation_config.json").write_text(
        json.dumps({"do_sample": True, "repetition_penalty": 1.1, "temperature": 0.7, "top_p": 0.8, "top_k": 20}), encoding="utf-8")  # fmt: skip
    write_tokenizer(reader, options.folder)
    write_same_gguf(reader, arch, ours, options.folder / "same.gguf")


if __name__ == "__main__":
    main()
