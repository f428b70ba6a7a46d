/* Text that a model made may be cut in the middle of a character; nothing that is not UTF-8 leaves the program in JSON or a
 * table. */
#include "cli/text.h"

#include "util/utf8.h"

bool cs_text_is_blank(const char *text, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\n' && text[i] != '\r') {
            return false;
        }
    }
    return true;
}

bool cs_text_append_valid(cs_buffer *buffer, const char *bytes, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes;) {
        size_t length = 1;
        bool valid = cs_utf8_next(bytes + i, n_bytes - i, &length) == CS_UTF8_VALID;
        if (!(valid ? cs_buffer_append(buffer, bytes + i, length)
                    : cs_buffer_append(buffer, CS_UTF8_REPLACEMENT, CS_UTF8_REPLACEMENT_BYTES))) {
            return false;
        }
        i += length > 0 ? length : 1;
    }
    return true;
}

uint32_t cs_text_code_point(const char *character, size_t length)
{
    unsigned char first = (unsigned char)character[0];
    if (length == 1) {
        return first;
    }
    uint32_t value = first & (0x7FU >> length);
    for (size_t i = 1; i < length; i++) {
        value = value << 6 | ((unsigned char)character[i] & 0x3FU);
    }
    return value;
}
