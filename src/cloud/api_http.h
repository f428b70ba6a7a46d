/*
 * HTTP with one engine, through libcurl: one request at a time, and spare connections that stand ready.
 *
 * There is no thread: the device's thread lets bytes flow whenever it waits for the engine; what comes meanwhile is kept by the
 * kernel. A request that is not wanted any more is cancelled, which closes its HTTP/1.1 connection, and with it the generation on
 * every engine. So that the next request need not wait for a handshake, connections are opened in advance by a GET; HTTP/2 resets
 * the stream instead. Neither redirects nor the environment's proxies are followed, and nothing but http and https is spoken.
 */
#ifndef CS_CLOUD_API_HTTP_H
#define CS_CLOUD_API_HTTP_H

#include "cloud/native_url.h"
#include "util/buffer.h"

#include <costeer/error.h>
#include <stdint.h>

typedef struct cs_api_http cs_api_http;

typedef struct cs_api_http_params {
    const cs_native_url *url; /**< copied */
    const char *key;          /**< API key; NULL: none. All of them are copied */
    const char *ca_file;
    const char *proxy;
    const char *no_proxy;
} cs_api_http_params;

/** What has come of the request that is under way, or of the last one. */
typedef struct cs_api_response {
    bool is_active;         /**< a request is under way */
    bool is_done;           /**< it has ended by itself; `failed` and `status` tell how */
    bool failed;            /**< it did not get a whole response: see cs_api_http_explain() */
    long status;            /**< HTTP status; 0: not known yet */
    int64_t retry_after_ms; /**< what the engine asked for; 0: nothing */
    const char *bytes;      /**< [n] of the body, what was not consumed yet */
    size_t n;
} cs_api_response;

/** Sums since cs_api_http_reset_counts(). Headers are included, TLS and TCP are not. */
typedef struct cs_api_counts {
    uint64_t bytes_up;
    uint64_t bytes_down;
    int32_t n_requests;
    int64_t round_trip_us; /**< shortest time that a TCP connection took; 0: none was made. Never reset */
} cs_api_counts;

/** @return COSTEER_OK; COSTEER_EIO: the CA file; COSTEER_ENOMEM */
costeer_err cs_api_http_create(const cs_api_http_params *params, cs_api_http **out, costeer_error *err);
void cs_api_http_free(cs_api_http *http);

/** Name what the following requests belong together by (header X-Session-ID): hexadecimal digits that say nothing; NULL: none. */
costeer_err cs_api_http_set_session(cs_api_http *http, const char *session, costeer_error *err);

/**
 * Start a request; one that is under way is cancelled.
 *
 * @param path       begins with '/'; comes behind the URL's own path
 * @param body       [n_body] JSON for a POST, must stay until the request has ended; NULL: a GET
 * @param is_stream  the response may be long: it is read only as fast as it is consumed
 * @param limit      bytes that a response may have unread; more fails it, or, of a stream, waits
 */
costeer_err cs_api_http_start(cs_api_http *http, const char *path, const char *body, size_t n_body, bool is_stream, size_t limit,
                              costeer_error *err);

/** Cancel what is under way; nothing of it comes any more. */
void cs_api_http_cancel(cs_api_http *http);

/** See that `n` connections stand ready, or are being made, by GETs of a path; true: one more GET is to be sent. */
bool cs_api_http_wants_spare(const cs_api_http *http, int n);
costeer_err cs_api_http_open_spare(cs_api_http *http, const char *path, bool is_fresh, costeer_error *err);

/** HTTP/2: a stream was cancelled, and the engine will hear of it with the next request only (libcurl 7.88 sends nothing by
 * itself). */
bool cs_api_http_holds_reset(const cs_api_http *http);

/** Let bytes flow; when there is nothing to do, wait up to `wait_ms` for something. */
costeer_err cs_api_http_run(cs_api_http *http, int wait_ms, costeer_error *err);

cs_api_response cs_api_http_response(const cs_api_http *http);
void cs_api_http_consume(cs_api_http *http, size_t n);

/** True once a TLS handshake has been made. */
bool cs_api_http_is_secured(const cs_api_http *http);

/** Why the last request failed (cs_api_response.failed). */
costeer_err cs_api_http_explain(const cs_api_http *http, bool *is_final, costeer_error *err);

cs_api_counts cs_api_http_counts(const cs_api_http *http);
void cs_api_http_reset_counts(cs_api_http *http);

#endif
