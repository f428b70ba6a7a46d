/*
 * Why a connection failed, in words that say what to do. libwebsockets tells a reason as one English string; only those classes
 * are told apart that a person would act upon differently: the name, the port, the certificate, the token, what answers there.
 */
#include "cloud/native_link_internal.h"
#include "util/error.h"

#include <string.h>

/* ---- failures ---------------------------------------------------------------------------------------------------- */

void cs_native_link_fail(cs_native_link *link, const cs_native_link_failure *failure)
{
    if (link->state != CS_NATIVE_LINK_DOWN) {
        link->failure = *failure;
        link->state = CS_NATIVE_LINK_DOWN;
        link->wsi = NULL;
        (void)pthread_cond_broadcast(&link->changed);
    }
}

static cs_native_link_failure explain_status(const cs_native_link *link, unsigned int status)
{
    cs_native_link_failure failure = {.is_final = status < 500 && status != 429, .is_busy = status == 503 || status == 429};
    costeer_error *err = &failure.error;
    const char *host = link->url.host;
    switch (status) {
    case 401:
    case 403:
        (void)(link->token == NULL
                   ? cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s wants a bearer token: give one with --cloud-token-file", host)
                   : cs_error_set(err, COSTEER_ECLOUD, "cloud",
                                  "%s does not accept the bearer token: check the file of --cloud-token-file", host));
        break;
    case 503:
    case 429:
        (void)cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s has no room for another connection (HTTP %u): try later", host,
                           status);
        break;
    default:
        (void)cs_error_set(err, COSTEER_ECLOUD, "cloud",
                           "%s:%d answers HTTP %u at %s instead of opening a WebSocket: it is not a CoSteer node, or the path is "
                           "wrong",
                           host, link->url.port, status, link->url.path);
    }
    return failure;
}

/* libwebsockets tells in one string what failed; only the classes that a person can act upon are told apart. */
cs_native_link_failure cs_native_link_explain(const cs_native_link *link, unsigned int status, const char *detail, size_t n)
{
    if (status != 0 && status != 101) {
        return explain_status(link, status);
    }
    char text[128] = "no reason given";
    if (detail != NULL && n > 0) {
        n = n < sizeof text ? n : sizeof text - 1;
        memcpy(text, detail, n);
        text[n] = '\0';
    }
    cs_native_link_failure failure = {.is_final = false};
    costeer_error *err = &failure.error;
    const char *host = link->url.host;
    if (link->tls.context != NULL && link->tls.verify_error != X509_V_OK) {
        (void)cs_native_tls_explain(&link->tls, err);
        failure.is_final = true;
    } else if (strstr(text, "HS:") != NULL) {
        (void)cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s:%d does not open a WebSocket as a CoSteer node does (%s)", host,
                           link->url.port, text);
    } else if (strstr(text, "tls") != NULL || strstr(text, "TLS") != NULL || strstr(text, "SSL") != NULL) {
        (void)cs_error_set(err, COSTEER_ECLOUD, "cloud",
                           "%s:%d: the TLS handshake failed; a node without TLS is reached with ws:// (%s)", host, link->url.port,
                           text);
    } else if (link->was_asked) {
        (void)cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s:%d ended the connection without an answer%s (%s)", host,
                           link->url.port, link->url.is_tls ? "" : "; a node with TLS is reached with wss://", text);
    } else {
        (void)cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s:%d cannot be reached (%s): is a node running there?", host,
                           link->url.port, text);
    }
    return failure;
}

void cs_native_link_fail_with(cs_native_link *link, bool is_final, const char *what)
{
    cs_native_link_failure failure = {.is_final = is_final};
    (void)cs_error_set(&failure.error, COSTEER_ECLOUD, "cloud", "%s:%d %s", link->url.host, link->url.port, what);
    cs_native_link_fail(link, &failure);
}
