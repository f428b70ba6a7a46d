/* A growing run of bytes: doubles, keeps a NUL behind its last byte, and refuses to grow beyond its cap. */
#include "util/buffer.h"

#include <stdlib.h>
#include <string.h>

/* Small enough to waste nothing, large enough that a prompt seldom grows more than a few times. */
#define BUFFER_FIRST_CAPACITY 256

bool cs_buffer_append(cs_buffer *buffer, const char *bytes, size_t n_bytes)
{
    if (n_bytes > buffer->cap || buffer->n_bytes > buffer->cap - n_bytes) {
        return false;
    }
    const size_t needed = buffer->n_bytes + n_bytes + 1;
    if (needed > buffer->capacity) {
        size_t capacity = buffer->capacity == 0 ? BUFFER_FIRST_CAPACITY : buffer->capacity;
        while (capacity < needed) {
            capacity *= 2;
        }
        char *grown = realloc(buffer->bytes, capacity);
        if (grown == NULL) {
            return false;
        }
        buffer->bytes = grown;
        buffer->capacity = capacity;
    }
    if (n_bytes > 0) {
        memcpy(buffer->bytes + buffer->n_bytes, bytes, n_bytes);
    }
    buffer->n_bytes += n_bytes;
    buffer->bytes[buffer->n_bytes] = '\0';
    return true;
}

void cs_buffer_dispose(cs_buffer *buffer)
{
    free(buffer->bytes);
    buffer->bytes = NULL;
    buffer->n_bytes = 0;
    buffer->capacity = 0;
}
