/* Small questions about text that the command line asks. */
#ifndef CS_CLI_TEXT_H
#define CS_CLI_TEXT_H

#include "util/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** True when there is nothing but spaces, tabs and line ends. */
bool cs_text_is_blank(const char *text, size_t n_bytes);

/** Append text, with U+FFFD in the place of what is not UTF-8. Returns false as cs_buffer_append() does. */
bool cs_text_append_valid(cs_buffer *buffer, const char *bytes, size_t n_bytes);

/** The code point of a valid character of that length. */
uint32_t cs_text_code_point(const char *character, size_t length);

#endif
