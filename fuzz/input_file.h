/* An input as a file, for what reads files. */
#ifndef CS_FUZZ_INPUT_FILE_H
#define CS_FUZZ_INPUT_FILE_H

#include <stddef.h>
#include <stdint.h>

/** The path of a regular file with these bytes; the same file every time. It has no name of its own, so nothing is left behind.
 */
const char *fuzz_input_file(const uint8_t *data, size_t size);

#endif
