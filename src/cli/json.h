/* JSON as all commands write it: one line, numbers that read back to the same value, text that is always UTF-8. */
#ifndef CS_CLI_JSON_H
#define CS_CLI_JSON_H

#include "util/file.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/** A number, or the string "-inf", "inf" or "nan": JSON has no such numbers. NULL when memory is out. */
json_t *cs_json_number(double value);

/** A string; what is not UTF-8 is replaced by U+FFFD. NULL when memory is out. */
json_t *cs_json_text(const char *bytes, size_t n_bytes);

/** Set "text", and "bytes" as an array of numbers when the text is not UTF-8. Returns 0, or −1 when memory is out. */
int cs_json_set_piece(json_t *object, const char *bytes, size_t n_bytes);

/** An array of token ids. NULL when memory is out. */
json_t *cs_json_ids(const int32_t *ids, size_t n);

/**
 * Write a value in one line and release it.
 *
 * @param value  NULL (memory ran out while it was made) is reported as an internal error
 * @return an exit code; output errors are left in `out`
 */
int cs_json_print(cs_output *out, json_t *value);

#endif
