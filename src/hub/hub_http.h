/*
 * GET from the hub over libcurl. Redirects are followed here and not by libcurl, because of two rules: the token goes to the
 * endpoint's scheme, host and port and nowhere else, and nothing leaves TLS once the endpoint has it.
 */
#ifndef CS_HUB_HTTP_H
#define CS_HUB_HTTP_H

#include "util/error.h"

#include <costeer/hub.h>

#define CS_HUB_URL_MAX 8192

typedef struct cs_hub_http cs_hub_http;

/** What a response's head said; texts "" and numbers −1 when it did not. */
typedef struct cs_hub_head {
    long status;
    char error_code[64];       /**< X-Error-Code: "GatedRepo", … */
    char next[CS_HUB_URL_MAX]; /**< Link with rel="next" */
    char location[CS_HUB_URL_MAX];
    int64_t range_begin; /**< of Content-Range */
    int64_t retry_after_s;
    bool is_endpoint; /**< it came from the endpoint, not from where that redirected to */
    char host[256];   /**< who answered */
} cs_hub_head;

/** Begin a head. */
void cs_hub_head_forget(cs_hub_head *head);

/** Read a line of a head, [n_bytes] with its line end or without; a status line begins another head (hub_head.c). */
void cs_hub_head_read_line(cs_hub_head *head, const char *bytes, size_t n_bytes);

/** Takes a piece of a body; false ends the transfer. Called only for statuses 200 and 206. */
typedef bool (*cs_hub_sink_fn)(const cs_hub_head *head, const char *bytes, size_t n_bytes, void *user);

/** How a transfer ended. */
typedef enum cs_hub_result {
    CS_HUB_DONE,      /**< a response came, whatever its status */
    CS_HUB_BROKEN,    /**< no connection, or it broke: worth another try */
    CS_HUB_TIMED_OUT, /**< nothing came for a minute: worth another try */
    CS_HUB_STOPPED,   /**< the sink ended it */
    CS_HUB_CANCELED,
    CS_HUB_FAILED /**< another try would end the same */
} cs_hub_result;

costeer_err cs_hub_http_create(const costeer_hub_params *params, cs_hub_http **out, costeer_error *err);
void cs_hub_http_free(cs_hub_http *http);

/**
 * Get a URL.
 *
 * @param first_byte  > 0: only what begins there (Range)
 * @param reason      [256] what went wrong, for CS_HUB_BROKEN and CS_HUB_FAILED
 */
cs_hub_result cs_hub_http_get(cs_hub_http *http, const char *url, uint64_t first_byte, cs_hub_sink_fn sink, void *user,
                              cs_hub_head *head, char reason[256]);

#endif
