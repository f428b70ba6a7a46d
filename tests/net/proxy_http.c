/* Framing of HTTP/1 messages (RFC 9112, sections 2 to 7), byte by byte: proxy_http.h. */
#include "tests/net/proxy_http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void begin_message(net_http *h)
{
    static const char version[] = "HTTP/1.1 ";
    const bool is_answer = strncmp(h->line, version, strlen("HTTP/1.")) == 0 && h->n_line >= sizeof version;
    h->in_head = true;
    h->is_post = strncmp(h->line, "POST ", 5) == 0;
    h->status = is_answer ? strtol(h->line + sizeof version - 1, NULL, 10) : 0;
    h->is_chunked = h->is_event_stream = false;
    h->length = -1;
}

/* The value of a field, when the line is one of that name. */
static const char *value_of(const char *line, const char *name)
{
    const size_t n = strlen(name);
    if (strncasecmp(line, name, n) != 0 || line[n] != ':') {
        return NULL;
    }
    return line + n + 1 + strspn(line + n + 1, " \t");
}

static void take_field(net_http *h)
{
    const char *length = value_of(h->line, "Content-Length");
    const char *type = value_of(h->line, "Content-Type");
    const char *encoding = value_of(h->line, "Transfer-Encoding");
    h->length = length != NULL ? strtoll(length, NULL, 10) : h->length;
    h->is_event_stream = type != NULL ? strncasecmp(type, "text/event-stream", 17) == 0 : h->is_event_stream;
    h->is_chunked = encoding != NULL ? strncasecmp(encoding, "chunked", 7) == 0 : h->is_chunked;
}

/* Behind a message: returns true. */
static bool end_message(net_http *h)
{
    h->state = NET_HTTP_HEAD;
    h->in_head = false;
    return true;
}

/* Section 6.3: what there is of a body. */
static bool end_head(net_http *h)
{
    if (h->status == 101) {
        h->state = NET_HTTP_UNTIL_CLOSE; /* another protocol from here on */
        return false;
    }
    if (h->status >= 100 && h->status < 200) {
        h->in_head = false; /* the answer itself follows */
        return false;
    }
    if (h->status == 204 || h->status == 304 || (!h->is_chunked && h->length == 0)) {
        return end_message(h);
    }
    if (h->is_chunked) {
        h->state = NET_HTTP_CHUNK_SIZE;
    } else if (h->length > 0) {
        h->state = NET_HTTP_LENGTH;
        h->n_left = h->length;
    } else if (h->status > 0) {
        h->state = NET_HTTP_UNTIL_CLOSE;
    } else {
        return end_message(h); /* a request has a body only when it says so */
    }
    return false;
}

/* A whole line is there. True: it ends the message. */
static bool take_line(net_http *h)
{
    const bool is_empty = h->n_line == 0;
    switch (h->state) {
    case NET_HTTP_HEAD:
        if (is_empty) {
            return h->in_head && end_head(h);
        }
        if (h->in_head) {
            take_field(h);
        } else {
            begin_message(h);
        }
        return false;
    case NET_HTTP_CHUNK_SIZE:
        h->n_left = strtoll(h->line, NULL, 16);
        h->state = h->n_left > 0 ? NET_HTTP_CHUNK : NET_HTTP_TRAILER;
        return false;
    case NET_HTTP_CHUNK_END:
        h->state = NET_HTTP_CHUNK_SIZE;
        return false;
    default:
        return is_empty && end_message(h);
    }
}

static bool take_body_byte(net_http *h)
{
    if (h->state == NET_HTTP_UNTIL_CLOSE || --h->n_left > 0) {
        return false;
    }
    if (h->state == NET_HTTP_LENGTH) {
        return end_message(h);
    }
    h->state = NET_HTTP_CHUNK_END;
    return false;
}

bool net_http_take(net_http *h, char byte)
{
    if (net_http_in_body(h)) {
        return take_body_byte(h);
    }
    if (byte != '\n') {
        if (h->n_line < sizeof h->line - 1) {
            h->line[h->n_line++] = byte;
        }
        return false;
    }
    if (h->n_line > 0 && h->line[h->n_line - 1] == '\r') {
        h->n_line--;
    }
    h->line[h->n_line] = '\0';
    const bool is_last = take_line(h);
    h->n_line = 0;
    return is_last;
}
