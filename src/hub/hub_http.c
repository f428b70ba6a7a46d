/*
 * One easy handle, used for one request after the other, so that connections to hub and storage are kept. Texts of a response's
 * head are kept for comparisons only; none of them is shown to anybody.
 */
#include "hub/hub_http.h"

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define REDIRECTS_MAX     8
#define CONNECT_TIMEOUT_S 30L
#define SILENCE_S         60L

struct cs_hub_http {
    CURL *easy;
    CURLU *endpoint;
    struct curl_slist *with_token; /* headers */
    struct curl_slist *without_token;
    const costeer_hub_params *params;
    /* of the request that runs */
    cs_hub_head *head;
    cs_hub_sink_fn sink;
    void *user;
    bool sink_stopped;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode global_result;

static void init_globally(void)
{
    global_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static bool add_header(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);
    *list = longer != NULL ? longer : *list;
    return longer != NULL;
}

static bool make_headers(cs_hub_http *http, const char *token)
{
    static const char accept[] = "Accept: */*";
    bool ok = add_header(&http->without_token, accept) && add_header(&http->with_token, accept);
    if (ok && token != NULL) {
        char line[1100];
        const int n = snprintf(line, sizeof line, "Authorization: Bearer %s", token);
        ok = n > 0 && (size_t)n < sizeof line && add_header(&http->with_token, line);
        OPENSSL_cleanse(line, sizeof line);
    }
    return ok;
}

costeer_err cs_hub_http_create(const costeer_hub_params *params, cs_hub_http **out, costeer_error *err)
{
    (void)pthread_once(&once, init_globally);
    cs_hub_http *http = global_result == CURLE_OK ? calloc(1, sizeof *http) : NULL;
    *out = http;
    if (http == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "hub", "no memory for a connection");
    }
    http->params = params;
    http->easy = curl_easy_init();
    http->endpoint = curl_url();
    if (http->easy == NULL || http->endpoint == NULL || !make_headers(http, params->token)) {
        return cs_error_set(err, COSTEER_ENOMEM, "hub", "no memory for a connection, or a token of more than 1,000 bytes");
    }
    char *scheme = NULL;
    const bool is_url = curl_url_set(http->endpoint, CURLUPART_URL, params->endpoint, 0) == CURLUE_OK &&
                        curl_url_get(http->endpoint, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                        (strcmp(scheme, "https") == 0 || strcmp(scheme, "http") == 0);
    curl_free(scheme);
    return is_url ? COSTEER_OK
                  : cs_error_set(err, COSTEER_EINVAL, "hub", "%.200s: no endpoint of a hub; it begins with https:// or http://",
                                 params->endpoint);
}

static void free_headers(struct curl_slist *list)
{
    for (struct curl_slist *line = list; line != NULL; line = line->next) {
        OPENSSL_cleanse(line->data, strlen(line->data));
    }
    curl_slist_free_all(list);
}

void cs_hub_http_free(cs_hub_http *http)
{
    if (http != NULL) {
        curl_easy_cleanup(http->easy);
        curl_url_cleanup(http->endpoint);
        free_headers(http->with_token);
        free_headers(http->without_token);
        free(http);
    }
}

/* ---- where a request goes ---------------------------------------------------------------------------------------- */

static bool same_part(CURLU *a, CURLU *b, CURLUPart part)
{
    char *x = NULL;
    char *y = NULL;
    const bool is_same = curl_url_get(a, part, &x, CURLU_DEFAULT_PORT) == CURLUE_OK &&
                         curl_url_get(b, part, &y, CURLU_DEFAULT_PORT) == CURLUE_OK && strcasecmp(x, y) == 0;
    curl_free(x);
    curl_free(y);
    return is_same;
}

static bool is_endpoint(const cs_hub_http *http, CURLU *url)
{
    return same_part(http->endpoint, url, CURLUPART_SCHEME) && same_part(http->endpoint, url, CURLUPART_HOST) &&
           same_part(http->endpoint, url, CURLUPART_PORT);
}

static bool has_scheme(CURLU *url, const char *scheme)
{
    char *text = NULL;
    const bool has = curl_url_get(url, CURLUPART_SCHEME, &text, 0) == CURLUE_OK && strcmp(text, scheme) == 0;
    curl_free(text);
    return has;
}

/* An endpoint with TLS redirects to TLS only. */
static bool may_follow(const cs_hub_http *http, CURLU *url)
{
    return has_scheme(url, "https") || (has_scheme(url, "http") && has_scheme(http->endpoint, "http"));
}

static void read_host(CURLU *url, char host[256])
{
    char *text = NULL;
    host[0] = '\0';
    if (curl_url_get(url, CURLUPART_HOST, &text, 0) == CURLUE_OK) {
        (void)snprintf(host, 256, "%s", text);
    }
    curl_free(text);
}

/* ---- a response -------------------------------------------------------------------------------------------------- */

static size_t on_header(char *bytes, size_t size, size_t n, void *user)
{
    cs_hub_http *http = user;
    cs_hub_head_read_line(http->head, bytes, size * n);
    return size * n;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *user)
{
    cs_hub_http *http = user;
    (void)curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &http->head->status);
    if (http->head->status != 200 && http->head->status != 206) {
        return size * n; /* an error's page */
    }
    http->sink_stopped = !http->sink(http->head, bytes, size * n, http->user);
    return http->sink_stopped ? 0 : size * n;
}

static int on_progress(void *user, curl_off_t all, curl_off_t got, curl_off_t up_all, curl_off_t up)
{
    const cs_hub_http *http = user;
    (void)all, (void)got, (void)up_all, (void)up;
    return http->params->cancel != NULL && atomic_load(http->params->cancel);
}

/* ---- a request --------------------------------------------------------------------------------------------------- */

#define SET(option, value) ok = ok && curl_easy_setopt(http->easy, option, value) == CURLE_OK

static bool prepare(cs_hub_http *http, CURLU *url, bool with_token, uint64_t first_byte)
{
    const costeer_hub_params *p = http->params;
    char range[32];
    (void)snprintf(range, sizeof range, "%llu-", (unsigned long long)first_byte);
    bool ok = true;
    curl_easy_reset(http->easy);
    SET(CURLOPT_CURLU, url);
    SET(CURLOPT_PROTOCOLS_STR, "https,http");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, p->proxy != NULL ? p->proxy : ""); /* "": not even the environment's */
    SET(CURLOPT_NOPROXY, p->no_proxy != NULL ? p->no_proxy : "");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L);
    SET(CURLOPT_USERAGENT, "costeer");
    SET(CURLOPT_HTTPHEADER, with_token ? http->with_token : http->without_token);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
    SET(CURLOPT_LOW_SPEED_TIME, p->silence_s > 0 ? (long)p->silence_s : SILENCE_S);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, http);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, http);
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, http);
    if (first_byte > 0) {
        SET(CURLOPT_RANGE, range);
    }
    if (p->ca_file != NULL) {
        SET(CURLOPT_CAINFO, p->ca_file);
    }
    return ok;
}

static cs_hub_result result_of(const cs_hub_http *http, CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return CS_HUB_DONE;
    case CURLE_ABORTED_BY_CALLBACK:
        return CS_HUB_CANCELED;
    case CURLE_OPERATION_TIMEDOUT:
        return CS_HUB_TIMED_OUT;
    case CURLE_WRITE_ERROR:
        return http->sink_stopped ? CS_HUB_STOPPED : CS_HUB_FAILED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return CS_HUB_BROKEN;
    default:
        return CS_HUB_FAILED;
    }
}

static bool is_redirect(const cs_hub_http *http)
{
    const long status = http->head->status;
    return (status == 301 || status == 302 || status == 303 || status == 307 || status == 308) && http->head->location[0] != '\0';
}

static cs_hub_result get(cs_hub_http *http, CURLU *url, uint64_t first_byte, char reason[256])
{
    for (int i = 0; i <= REDIRECTS_MAX; i++) {
        const bool at_endpoint = is_endpoint(http, url);
        char host[256];
        read_host(url, host);
        cs_hub_head_forget(http->head);
        if (!prepare(http, url, at_endpoint, first_byte)) {
            (void)snprintf(reason, 256, "no memory for a request");
            return CS_HUB_FAILED;
        }
        const CURLcode code = curl_easy_perform(http->easy);
        (void)curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &http->head->status);
        http->head->is_endpoint = at_endpoint;
        memcpy(http->head->host, host, sizeof host);
        (void)snprintf(reason, 256, "%s: %s", host, curl_easy_strerror(code));
        if (code != CURLE_OK || !is_redirect(http)) {
            return result_of(http, code);
        }
        if (curl_url_set(url, CURLUPART_URL, http->head->location, 0) != CURLUE_OK || !may_follow(http, url)) {
            (void)snprintf(reason, 256, "%s redirects to what may not be followed", host);
            return CS_HUB_FAILED;
        }
    }
    (void)snprintf(reason, 256, "more than %d redirects", REDIRECTS_MAX);
    return CS_HUB_FAILED;
}

cs_hub_result cs_hub_http_get(cs_hub_http *http, const char *url, uint64_t first_byte, cs_hub_sink_fn sink, void *user,
                              cs_hub_head *head, char reason[256])
{
    http->head = head;
    http->sink = sink;
    http->user = user;
    http->sink_stopped = false;
    cs_hub_head_forget(http->head);
    CURLU *parsed = curl_url();
    cs_hub_result result = CS_HUB_FAILED;
    (void)snprintf(reason, 256, "a URL that cannot be used");
    if (parsed != NULL && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK) {
        (void)snprintf(reason, 256, "it names a page that may not be followed"); /* of a list, as a redirect */
        result = may_follow(http, parsed) ? get(http, parsed, first_byte, reason) : CS_HUB_FAILED;
    }
    curl_url_cleanup(parsed);
    return result;
}
