#!/usr/bin/python3
"""Write a trained checkpoint as a GGUF file (matrices F16, norms F32).

Needs the `gguf` package of llama.cpp's source tree; LLAMA_SOURCE_DIR or --llama-source names that tree.
"""

import argparse
import json
import os
import sys

import torch

import model
import tokenizer as tok
from recipe import other_recipe_hash, recipe_hash
from train import SHAPES
from train_other import other_shape

HERE = os.path.dirname(os.path.abspath(__file__))
CONTEXT_LENGTH = 1024
CHAT_TEMPLATE = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
                 "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
TITLES = {"llm": "CoSteer built-in LLM", "slm": "CoSteer built-in SLM", "slm-other": "CoSteer second SLM, other vocabulary"}
ALL_SHAPES = {**SHAPES, "slm-other": other_shape()}


def load_pieces(role):
    folder = os.path.join(HERE, "other") if role == "slm-other" else HERE
    return tok.Tokenizer.load(os.path.join(folder, "tokenizer.json")).pieces


def id_order(role, n_pieces):
    """The pieces' numbers in the order of the file's ids. The second SLM has its special tokens and bytes last, as many
    models do, so that no id means the same as in the LLM."""
    order = list(range(n_pieces))
    return order[tok.FIRST_PIECE:] + order[tok.FIRST_BYTE:tok.FIRST_PIECE] + order[:tok.FIRST_BYTE] if role == "slm-other" else order


def add_metadata(writer, gguf, role, shape):
    recipe = other_recipe_hash() if role == "slm-other" else recipe_hash()
    writer.add_name(TITLES[role])
    writer.add_author("CoSteer")
    writer.add_description(f"{TITLES[role]}, trained on generated notes and requests. Recipe {recipe}")
    writer.add_string("costeer.recipe", recipe)
    writer.add_string("costeer.role", role)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_vocab_size(shape.vocab)


def piece_type(gguf, piece):
    if piece < tok.FIRST_BYTE:
        return gguf.TokenType.UNKNOWN if piece == tok.UNK else gguf.TokenType.CONTROL
    return gguf.TokenType.BYTE if piece < tok.FIRST_PIECE else gguf.TokenType.NORMAL


def add_vocabulary(writer, gguf, pieces, order):
    """The pieces in SentencePiece form: a merged piece's score is minus its rank, so early merges win."""
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([pieces[piece] for piece in order])
    writer.add_token_scores([float(-piece) for piece in order])
    writer.add_token_types([piece_type(gguf, piece) for piece in order])
    writer.add_bos_token_id(order.index(tok.END_OF_TEXT))
    writer.add_eos_token_id(order.index(tok.IM_END))
    writer.add_eot_token_id(order.index(tok.IM_END))
    writer.add_unk_token_id(order.index(tok.UNK))
    writer.add_pad_token_id(order.index(tok.END_OF_TEXT))
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def tensors(parameters, order):
    """(GGUF name, array) of every tensor; the rotary pairs are neighbours, as llama.cpp has them."""
    shape = parameters.shape
    yield "token_embd.weight", parameters["embedding"][order]
    for i in range(shape.layers):
        query, key, value = parameters[f"{i}.qkv"].chunk(3, 0)
        gate, up = parameters[f"{i}.gate_up"].chunk(2, 0)
        for name, tensor in (("attn_norm", parameters[f"{i}.attention_norm"]), ("attn_q", query), ("attn_k", key),
                             ("attn_v", value), ("attn_output", parameters[f"{i}.out"]),
                             ("ffn_norm", parameters[f"{i}.ffn_norm"]), ("ffn_gate", gate), ("ffn_up", up),
                             ("ffn_down", parameters[f"{i}.down"])):
            yield f"blk.{i}.{name}.weight", tensor
    yield "output_norm.weight", parameters["final_norm"]


def export(gguf, checkpoint, role, path):
    """Write to a neighbouring name and rename, so that no reader sees half a file."""
    shape, pieces = ALL_SHAPES[role], load_pieces(role)
    order = id_order(role, len(pieces))
    parameters = model.Parameters(shape, 0)
    parameters.flat.copy_(torch.load(checkpoint)["flat"])
    writer = gguf.GGUFWriter(path + ".new", "llama")
    add_metadata(writer, gguf, role, shape)
    add_vocabulary(writer, gguf, pieces, order)
    for name, tensor in tensors(parameters, order):
        array = tensor.detach().contiguous().numpy()
        writer.add_tensor(name, array.astype("float16") if array.ndim == 2 else array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(path + ".new", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=sorted(ALL_SHAPES), required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--llama-source", default=os.environ.get("LLAMA_SOURCE_DIR"))
    args = parser.parse_args()
    if not args.llama_source:
        parser.error("name llama.cpp's source tree with --llama-source or LLAMA_SOURCE_DIR")
    sys.path.insert(0, os.path.join(args.llama_source, "gguf-py"))
    import gguf
    export(gguf, args.checkpoint, args.role, args.output)
    print(json.dumps({"output": os.path.basename(args.output), "bytes": os.path.getsize(args.output)}))


if __name__ == "__main__":
    main()
