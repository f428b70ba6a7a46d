/*
 * A line is put together in `line`, its data in `data`. A whole line in one piece, which is the usual case, is still copied
 * twice: a few microseconds for an event of 64 entries, beside the hundred that reading its JSON takes.
 */
#include "cloud/api_sse.h"

#include <string.h>

static const char byte_order_mark[] = "\xEF\xBB\xBF";

void cs_sse_reset(cs_sse *sse, size_t cap)
{
    sse->line.n_bytes = sse->data.n_bytes = 0;
    sse->line.cap = sse->data.cap = cap;
    sse->is_complete = sse->skips_lf = sse->has_begun = sse->has_data = false;
}

void cs_sse_dispose(cs_sse *sse)
{
    cs_buffer_dispose(&sse->line);
    cs_buffer_dispose(&sse->data);
}

/* Several data fields are lines of one text. */
static bool add_data(cs_sse *sse, const char *value, size_t n)
{
    const bool follows = sse->has_data;
    sse->has_data = true;
    return (!follows || cs_buffer_append(&sse->data, "\n", 1)) && (n == 0 || cs_buffer_append(&sse->data, value, n));
}

/* A whole line is in `line`. Returns false when there is no room for its data. */
static bool take_line(cs_sse *sse, bool *ends_event)
{
    const char *line = sse->line.bytes;
    size_t n = sse->line.n_bytes;
    if (!sse->has_begun && n >= 3 && memcmp(line, byte_order_mark, 3) == 0) {
        line += 3;
        n -= 3;
    }
    sse->has_begun = true;
    sse->line.n_bytes = 0;
    *ends_event = n == 0 && sse->has_data;
    if (n < 4 || memcmp(line, "data", 4) != 0 || (n > 4 && line[4] != ':')) {
        return true; /* a comment, another field, or an empty line */
    }
    size_t start = n > 4 ? 5 : 4;
    start += start < n && line[start] == ' ' ? 1 : 0;
    return add_data(sse, line + start, n - start);
}

/* Byte by byte: a search for each of the two would look at a stream of short CR lines again and again. */
static size_t find_line_end(const char *bytes, size_t n)
{
    size_t end = 0;
    while (end < n && bytes[end] != '\n' && bytes[end] != '\r') {
        end++;
    }
    return end;
}

cs_sse_result cs_sse_feed(cs_sse *sse, const char *bytes, size_t n, size_t *n_taken)
{
    if (sse->is_complete) {
        sse->data.n_bytes = 0;
        sse->is_complete = sse->has_data = false;
    }
    for (size_t at = 0; at < n;) {
        if (sse->skips_lf && bytes[at] == '\n') {
            at++;
            sse->skips_lf = false;
            continue;
        }
        sse->skips_lf = false;
        const size_t length = find_line_end(bytes + at, n - at);
        if (length > 0 && !cs_buffer_append(&sse->line, bytes + at, length)) {
            return CS_SSE_TOO_LONG;
        }
        at += length;
        if (at == n) {
            break;
        }
        sse->skips_lf = bytes[at++] == '\r';
        bool ends_event = false;
        if (!take_line(sse, &ends_event)) {
            return CS_SSE_TOO_LONG;
        }
        if (ends_event) {
            sse->is_complete = true;
            *n_taken = at;
            return CS_SSE_EVENT;
        }
    }
    *n_taken = n;
    return CS_SSE_MORE;
}
