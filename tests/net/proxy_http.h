/*
 * Where in an HTTP/1 stream a byte stands: in a head, in a body, or in what frames a body. One for each direction of a
 * connection; it only looks on. Pure: no sockets, no clock. A stream that is something else never makes it see a POST.
 */
#ifndef CS_TEST_NET_PROXY_HTTP_H
#define CS_TEST_NET_PROXY_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_HTTP_LINE_MAX 128 /* what matters of a line is in its beginning */

typedef enum net_http_state {
    NET_HTTP_HEAD,
    NET_HTTP_CHUNK_SIZE,
    NET_HTTP_CHUNK_END, /* the line's end behind a chunk */
    NET_HTTP_TRAILER,
    NET_HTTP_CHUNK, /* bytes of the body, from here on */
    NET_HTTP_LENGTH,
    NET_HTTP_UNTIL_CLOSE
} net_http_state;

/** All zero: at the beginning of a message. */
typedef struct net_http {
    net_http_state state;
    char line[NET_HTTP_LINE_MAX];
    size_t n_line;
    bool in_head;   /* the first line has been read */
    int64_t n_left; /* bytes of the chunk or the body */

    bool is_post; /* of the message, until the next one begins */
    int64_t status;
    bool is_chunked;
    bool is_event_stream;
    int64_t length; /* −1: not told */
} net_http;

/** Whether the next byte belongs to a body. */
static inline bool net_http_in_body(const net_http *h)
{
    return h->state >= NET_HTTP_CHUNK;
}

/** Take a byte. True: it was the last one of a message. */
bool net_http_take(net_http *h, char byte);

#endif
