/*
 * One multi handle, one easy handle for the request that counts, and a few for spare connections. libcurl keeps finished
 * connections for the next request by itself; what is added here is to have some in time.
 */
#include "cloud/api_http.h"

#include "util/error.h"

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPARES_MAX       4
#define CONNECTIONS_MAX  16
#define URL_MAX          (CS_NATIVE_HOST_MAX + CS_NATIVE_PATH_MAX + 300)
#define SPARE_TIMEOUT_MS 10000L

/* Where a connection is had in less than this, none is made in advance. */
#define SPARE_WORTH_US 2000

struct cs_api_http {
    CURLM *multi;
    CURL *easy;
    CURL *spares[SPARES_MAX];   /* being made; NULL: none */
    struct curl_slist *headers; /* of a POST */
    struct curl_slist *get_headers;
    cs_native_url url;
    char *key, *ca_file, *proxy, *no_proxy;
    cs_buffer body;  /* of the response */
    size_t consumed; /* of it */
    size_t limit;
    bool is_stream;
    bool is_paused;
    bool is_active, is_done;
    bool is_http1;    /* the last exchange was HTTP/1.1: cancelling costs the connection */
    bool is_http2;    /* the last exchange was HTTP/2: cancelling resets the stream */
    bool holds_reset; /* a stream was cancelled, and nothing was sent since */
    CURLcode result;
    long status;
    int64_t retry_after_ms;
    int64_t setup_us; /* the shortest time that a new connection took, TLS included; 0: none was made */
    int n_ready;      /* connections that should stand ready */
    cs_api_counts counts;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode global_result;

static void init_globally(void)
{
    global_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static bool add_header(struct curl_slist **list, const char *name, const char *value)
{
    char line[1200];
    const int n = snprintf(line, sizeof line, "%s%s", name, value);
    struct curl_slist *longer = n > 0 && (size_t)n < sizeof line ? curl_slist_append(*list, line) : NULL;
    OPENSSL_cleanse(line, sizeof line); /* it may be the key */
    *list = longer != NULL ? longer : *list;
    return longer != NULL;
}

static costeer_err no_memory(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, "cloud", "no memory for a connection");
}

static bool make_headers(const cs_api_http *http, const char *session, bool has_body, struct curl_slist **out)
{
    *out = NULL;
    bool ok = add_header(out, "Accept: ", "application/json, text/event-stream");
    ok = ok && (http->key == NULL || add_header(out, "Authorization: Bearer ", http->key));
    ok = ok && (session == NULL || add_header(out, "X-Session-ID: ", session));
    ok = ok && (!has_body || (add_header(out, "Content-Type: ", "application/json") && add_header(out, "Expect:", "")));
    return ok;
}

costeer_err cs_api_http_set_session(cs_api_http *http, const char *session, costeer_error *err)
{
    cs_api_http_cancel(http); /* it may be using the headers */
    curl_slist_free_all(http->headers);
    http->headers = NULL;
    return make_headers(http, session, true, &http->headers) ? COSTEER_OK : no_memory(err);
}

static char *copy(const char *text, bool *ok)
{
    char *out = text == NULL ? NULL : strdup(text);
    *ok = *ok && (text == NULL || out != NULL);
    return out;
}

static costeer_err init(cs_api_http *http, const cs_api_http_params *params, costeer_error *err)
{
    bool ok = true;
    http->url = *params->url;
    http->key = copy(params->key, &ok);
    http->ca_file = copy(params->ca_file, &ok);
    http->proxy = copy(params->proxy != NULL ? params->proxy : "", &ok); /* "": not even the environment's */
    http->no_proxy = copy(params->no_proxy != NULL ? params->no_proxy : "", &ok);
    http->multi = curl_multi_init();
    http->easy = curl_easy_init();
    if (!ok || http->multi == NULL || http->easy == NULL ||
        curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_MAX) != CURLM_OK ||
        !make_headers(http, NULL, false, &http->get_headers)) {
        return no_memory(err);
    }
    return cs_api_http_set_session(http, NULL, err);
}

costeer_err cs_api_http_create(const cs_api_http_params *params, cs_api_http **out, costeer_error *err)
{
    *out = NULL;
    (void)pthread_once(&once, init_globally);
    if (global_result != CURLE_OK) {
        return cs_error_set(err, COSTEER_EINTERNAL, "cloud", "libcurl cannot be started: %s", curl_easy_strerror(global_result));
    }
    if (params->ca_file != NULL) { /* libcurl would tell only when it connects */
        FILE *file = fopen(params->ca_file, "rb");
        if (file == NULL) {
            return cs_error_set(err, COSTEER_EIO, "cloud", "%s: not readable, or no PEM certificate in it (--cloud-ca)",
                                params->ca_file);
        }
        (void)fclose(file);
    }
    cs_api_http *http = calloc(1, sizeof *http);
    if (http == NULL) {
        return no_memory(err);
    }
    const costeer_err code = init(http, params, err);
    if (code != COSTEER_OK) {
        cs_api_http_free(http);
        return code;
    }
    *out = http;
    return COSTEER_OK;
}

static void drop_spare(cs_api_http *http, int i)
{
    (void)curl_multi_remove_handle(http->multi, http->spares[i]);
    curl_easy_cleanup(http->spares[i]);
    http->spares[i] = NULL;
}

void cs_api_http_free(cs_api_http *http)
{
    if (http == NULL) {
        return;
    }
    cs_api_http_cancel(http);
    for (int i = 0; i < SPARES_MAX; i++) {
        if (http->spares[i] != NULL) {
            drop_spare(http, i);
        }
    }
    curl_easy_cleanup(http->easy);
    (void)curl_multi_cleanup(http->multi);
    curl_slist_free_all(http->headers);
    curl_slist_free_all(http->get_headers);
    if (http->key != NULL) {
        OPENSSL_cleanse(http->key, strlen(http->key));
    }
    free(http->key);
    free(http->ca_file);
    free(http->proxy);
    free(http->no_proxy);
    cs_buffer_dispose(&http->body);
    free(http);
}

/* ---- a request --------------------------------------------------------------------------------------------------- */

static size_t unread(const cs_api_http *http)
{
    return http->body.n_bytes - http->consumed;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *user)
{
    cs_api_http *http = user;
    if (http->is_stream && unread(http) > http->limit) {
        http->is_paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (!http->is_stream && unread(http) + size * n > http->limit) {
        return 0; /* libcurl ends it with CURLE_WRITE_ERROR */
    }
    if (http->consumed > 0 && http->consumed == http->body.n_bytes) {
        http->consumed = http->body.n_bytes = 0;
    }
    return cs_buffer_append(&http->body, bytes, size * n) ? size * n : 0;
}

static size_t ignore_body(char *bytes, size_t size, size_t n, void *user)
{
    (void)bytes;
    (void)user;
    return size * n;
}

/* The URL without its own query: engines have none. */
static void print_url(const cs_api_http *http, const char *path, char out[URL_MAX])
{
    const cs_native_url *url = &http->url;
    size_t n = strcspn(url->path, "?#");
    while (n > 0 && url->path[n - 1] == '/') {
        n--;
    }
    (void)snprintf(out, URL_MAX, url->is_ipv6 ? "%s://[%s]:%d%.*s%s" : "%s://%s:%d%.*s%s", url->is_tls ? "https" : "http",
                   url->host, url->port, (int)n, url->path, path);
}

/* What every request has. Failures of setting a constant option are failures of memory. */
static bool set_common(const cs_api_http *http, CURL *easy, const char *path)
{
    char url[URL_MAX];
    print_url(http, path, url);
    bool ok = curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, http->url.is_tls ? "https" : "http") == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PROXY, http->proxy) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_NOPROXY, http->no_proxy) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK; /* cancelling does not wait for a name server */
    ok = ok && curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip") ==
                   CURLE_OK; /* a router's; log-probabilities shrink to a fifth */
    ok = ok && curl_easy_setopt(easy, CURLOPT_USERAGENT, "costeer") == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK;
    return ok && (http->ca_file == NULL || (curl_easy_setopt(easy, CURLOPT_CAINFO, http->ca_file) == CURLE_OK &&
                                            curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK));
}

static bool set_request(cs_api_http *http, const char *path, const char *body, size_t n_body)
{
    CURL *easy = http->easy;
    curl_easy_reset(easy);
    bool ok = set_common(http, easy, path);
    ok = ok && curl_easy_setopt(easy, CURLOPT_HTTPHEADER, body != NULL ? http->headers : http->get_headers) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEDATA, http) == CURLE_OK;
    if (body != NULL) {
        ok = ok && curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK;
        ok = ok && curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n_body) == CURLE_OK;
        ok = ok && curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body) == CURLE_OK;
    }
    return ok;
}

costeer_err cs_api_http_start(cs_api_http *http, const char *path, const char *body, size_t n_body, bool is_stream, size_t limit,
                              costeer_error *err)
{
    cs_api_http_cancel(http);
    http->is_stream = is_stream;
    http->limit = limit;
    http->body.cap = is_stream ? limit + ((size_t)2 << 20) : limit; /* libcurl hands over less than that at once */
    if (!set_request(http, path, body, n_body) || curl_multi_add_handle(http->multi, http->easy) != CURLM_OK) {
        return no_memory(err);
    }
    http->is_active = true;
    http->holds_reset = false;
    http->n_ready -= http->n_ready > 0;
    http->counts.n_requests++;
    return cs_api_http_run(http, 0, err); /* over a connection that stands ready it leaves at once */
}

/* ---- what it has cost -------------------------------------------------------------------------------------------- */

static void count(cs_api_http *http, CURL *easy)
{
    long sent = 0;
    long head = 0;
    long n_connects = 0;
    long version = 0;
    curl_off_t posted = 0;
    curl_off_t body = 0;
    curl_off_t connected = 0;
    curl_off_t looked_up = 0;
    curl_off_t secured = 0;
    (void)curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &sent);
    (void)curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &posted);
    (void)curl_easy_getinfo(easy, CURLINFO_HEADER_SIZE, &head);
    (void)curl_easy_getinfo(easy, CURLINFO_SIZE_DOWNLOAD_T, &body);
    http->counts.bytes_up += (uint64_t)sent;
    http->counts.bytes_down += (uint64_t)head + (uint64_t)body;
    (void)curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
    if (version != 0) {
        http->is_http1 = version < CURL_HTTP_VERSION_2_0;
        http->is_http2 = !http->is_http1;
    }
    (void)curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &n_connects);
    (void)curl_easy_getinfo(easy, CURLINFO_CONNECT_TIME_T, &connected);
    (void)curl_easy_getinfo(easy, CURLINFO_NAMELOOKUP_TIME_T, &looked_up);
    (void)curl_easy_getinfo(easy, CURLINFO_APPCONNECT_TIME_T, &secured);
    const int64_t took = (int64_t)(connected - looked_up);
    if (n_connects > 0 && took > 0 && (http->counts.round_trip_us == 0 || took < http->counts.round_trip_us)) {
        http->counts.round_trip_us = took;
    }
    /* Nobody looks at a connection while the SLM computes: a longer time may be the SLM's. */
    const int64_t setup_us = took + (int64_t)(secured > 0 ? secured - connected : 0);
    if (n_connects > 0 && took > 0 && (http->setup_us == 0 || setup_us < http->setup_us)) {
        http->setup_us = setup_us;
    }
}

cs_api_counts cs_api_http_counts(const cs_api_http *http)
{
    return http->counts;
}

void cs_api_http_reset_counts(cs_api_http *http)
{
    http->counts = (cs_api_counts){.round_trip_us = http->counts.round_trip_us};
}

void cs_api_http_cancel(cs_api_http *http)
{
    if (http->is_active) {
        if (!http->is_done) {
            count(http, http->easy);
            http->holds_reset = http->is_http2;
        }
        (void)curl_multi_remove_handle(http->multi, http->easy);
    }
    http->is_active = http->is_done = http->is_paused = false;
    http->result = CURLE_OK;
    http->status = 0;
    http->retry_after_ms = 0;
    http->body.n_bytes = http->consumed = 0;
}

bool cs_api_http_holds_reset(const cs_api_http *http)
{
    return http->holds_reset;
}

/* ---- spare connections ------------------------------------------------------------------------------------------- */

bool cs_api_http_wants_spare(const cs_api_http *http, int n)
{
    int n_there = http->n_ready;
    int n_made = 0;
    for (int i = 0; i < SPARES_MAX; i++) {
        n_made += http->spares[i] != NULL;
    }
    n_there += n_made;
    return http->is_http1 && http->setup_us >= SPARE_WORTH_US && n_there < n && n_made < SPARES_MAX;
}

costeer_err cs_api_http_open_spare(cs_api_http *http, const char *path, bool is_fresh, costeer_error *err)
{
    int i = 0;
    while (i < SPARES_MAX - 1 && http->spares[i] != NULL) {
        i++;
    }
    CURL *easy = http->spares[i] == NULL ? curl_easy_init() : NULL;
    bool ok = easy != NULL && set_common(http, easy, path);
    ok = ok && curl_easy_setopt(easy, CURLOPT_HTTPHEADER, http->get_headers) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, ignore_body) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, is_fresh ? 1L : 0L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, SPARE_TIMEOUT_MS) == CURLE_OK;
    if (!ok || curl_multi_add_handle(http->multi, easy) != CURLM_OK) {
        curl_easy_cleanup(easy);
        return no_memory(err);
    }
    http->spares[i] = easy;
    http->holds_reset = http->holds_reset && is_fresh;
    http->counts.n_requests++;
    return COSTEER_OK;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static void finish(cs_api_http *http, CURLcode result)
{
    curl_off_t retry_after = 0;
    long n_connects = 0;
    http->is_done = true;
    http->result = result;
    (void)curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &http->status);
    (void)curl_easy_getinfo(http->easy, CURLINFO_RETRY_AFTER, &retry_after);
    (void)curl_easy_getinfo(http->easy, CURLINFO_NUM_CONNECTS, &n_connects);
    http->retry_after_ms = retry_after > 0 && retry_after < 86400 ? (int64_t)retry_after * 1000 : 0;
    count(http, http->easy);
    if (n_connects > 0) {
        http->n_ready = 0; /* those that were thought to be there are not */
    }
    http->n_ready += result == CURLE_OK;
}

static void take_messages(cs_api_http *http)
{
    int n = 0;
    for (CURLMsg *m = curl_multi_info_read(http->multi, &n); m != NULL; m = curl_multi_info_read(http->multi, &n)) {
        if (m->msg != CURLMSG_DONE) {
            continue;
        }
        const CURLcode result = m->data.result;
        CURL *easy = m->easy_handle; /* the message goes with its handle */
        if (easy == http->easy) {
            finish(http, result);
        }
        for (int i = 0; i < SPARES_MAX; i++) {
            if (http->spares[i] == easy) {
                count(http, easy);
                http->n_ready += result == CURLE_OK;
                drop_spare(http, i);
            }
        }
    }
}

static costeer_err perform(cs_api_http *http, costeer_error *err)
{
    int n_running = 0;
    const CURLMcode code = curl_multi_perform(http->multi, &n_running);
    if (code != CURLM_OK) {
        return cs_error_set(err, COSTEER_ENOMEM, "cloud", "libcurl failed: %s", curl_multi_strerror(code));
    }
    take_messages(http);
    if (http->is_active && !http->is_done) {
        (void)curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &http->status);
    }
    return COSTEER_OK;
}

costeer_err cs_api_http_run(cs_api_http *http, int wait_ms, costeer_error *err)
{
    if (http->is_paused && unread(http) <= http->limit / 2) {
        http->is_paused = false;
        (void)curl_easy_pause(http->easy, CURLPAUSE_CONT);
    }
    const size_t before = http->body.n_bytes;
    costeer_err code = perform(http, err);
    if (code != COSTEER_OK || wait_ms == 0 || http->is_done || http->body.n_bytes != before) {
        return code;
    }
    if (curl_multi_poll(http->multi, NULL, 0, wait_ms, NULL) != CURLM_OK) {
        return no_memory(err);
    }
    return perform(http, err);
}

cs_api_response cs_api_http_response(const cs_api_http *http)
{
    return (cs_api_response){.is_active = http->is_active,
                             .is_done = http->is_done,
                             .failed = http->is_done && http->result != CURLE_OK,
                             .status = http->status,
                             .retry_after_ms = http->retry_after_ms,
                             .bytes = http->body.n_bytes > 0 ? http->body.bytes + http->consumed : "",
                             .n = unread(http)};
}

void cs_api_http_consume(cs_api_http *http, size_t n)
{
    http->consumed += n;
    if (http->consumed == http->body.n_bytes) {
        http->consumed = http->body.n_bytes = 0;
    } else if (http->consumed > ((size_t)64 << 10)) {
        memmove(http->body.bytes, http->body.bytes + http->consumed, unread(http));
        http->body.n_bytes -= http->consumed;
        http->consumed = 0;
    }
}

bool cs_api_http_is_secured(const cs_api_http *http)
{
    curl_off_t secured = 0;
    (void)curl_easy_getinfo(http->easy, CURLINFO_APPCONNECT_TIME_T, &secured);
    return secured > 0 || http->setup_us > 0;
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

/* A server with TLS ends a connection that speaks none, or says nothing. */
#define TRY_HTTPS "; an engine with TLS is reached with https://"

costeer_err cs_api_http_explain(const cs_api_http *http, bool *is_final, costeer_error *err)
{
    const char *host = http->url.host;
    const int port = http->url.port;
    const char *why = curl_easy_strerror(http->result);
    *is_final = false;
    switch (http->result) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s: no such host is known; check the name in --cloud", host);
    case CURLE_COULDNT_RESOLVE_PROXY:
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "the proxy's name is not known; check http_proxy and https_proxy");
    case CURLE_COULDNT_CONNECT:
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s:%d cannot be reached: is the engine running there?", host, port);
    case CURLE_PEER_FAILED_VERIFICATION:
        *is_final = true;
        return cs_error_set(err, COSTEER_ECLOUD, "cloud",
                            "%s:%d: its certificate is not accepted (%s); give the CA that signed it with --cloud-ca", host, port,
                            why);
    case CURLE_SSL_CACERT_BADFILE:
        *is_final = true;
        return cs_error_set(err, COSTEER_EIO, "cloud", "%s: not readable, or no PEM certificate in it (--cloud-ca)",
                            http->ca_file != NULL ? http->ca_file : "the system's certificates");
    case CURLE_SSL_CONNECT_ERROR:
        return cs_error_set(err, COSTEER_ECLOUD, "cloud",
                            "%s:%d: the TLS handshake failed; an engine without TLS is reached with http:// (%s)", host, port,
                            why);
    case CURLE_GOT_NOTHING:
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s:%d ended the connection without an answer%s", host, port,
                            http->url.is_tls ? "" : TRY_HTTPS);
    case CURLE_WRITE_ERROR:
        *is_final = true;
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s:%d: an answer of more than %zu bytes, which none should have", host,
                            port, http->limit);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
        *is_final = true;
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s:%d does not speak HTTP (%s)", host, port, why);
    default:
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s:%d: the connection was lost%s (%s)", host, port,
                            !http->url.is_tls && http->counts.bytes_down == 0 ? TRY_HTTPS : "", why);
    }
}
