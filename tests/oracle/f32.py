"""A GGUF with the same weights in float32: every tensor dequantised by the gguf package, all metadata kept.

    f32.py IN.gguf OUT.gguf
"""
import os
import sys

import gguf
import numpy


def copy_fields(reader, writer):
    skipped = {"general.architecture", "general.file_type", "general.quantization_version"}
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in skipped:
            continue
        kind = field.types[0]
        element = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=element)


def main(source, target):
    reader = gguf.GGUFReader(source)
    unfinished = target + ".part"
    writer = gguf.GGUFWriter(unfinished, reader.fields["general.architecture"].contents())
    copy_fields(reader, writer)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:  # shapes first: the weights are dequantised one by one as they are written
        shape = [int(n) for n in reversed(tensor.shape)]
        writer.add_tensor_info(tensor.name, shape, numpy.dtype(numpy.float32), int(numpy.prod(shape)) * 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        writer.write_tensor_data(values.reshape([int(n) for n in reversed(tensor.shape)]))
    writer.close()
    os.replace(unfinished, target)


main(*sys.argv[1:3])
