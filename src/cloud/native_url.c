/*
 * URLs of cloud nodes and engines. Strict: what this does not know (a user name, a fragment, another scheme) is refused and not
 * guessed at, because the token and the answer go to whoever the URL names.
 */
#include "cloud/native_url.h"

#include "util/error.h"
#include "util/parse.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- parts ------------------------------------------------------------------------------------------------------- */

/* The schemes of a protocol, plain and over TLS. */
typedef struct schemes {
    const char *plain;
    const char *tls;
} schemes;

static const schemes websocket = {"ws://", "wss://"};
static const schemes http = {"http://", "https://"};

static costeer_err refuse(const cs_native_url *url, costeer_error *err, const char *what)
{
    const schemes *s = url->is_http ? &http : &websocket;
    return cs_error_set(err, COSTEER_EINVAL, "cloud", "the cloud's URL %s; write %shost:port or %shost:port", what, s->tls,
                        s->plain);
}

static bool copy(char *out, size_t capacity, const char *text, size_t n)
{
    if (n >= capacity) {
        return false;
    }
    memcpy(out, text, n);
    out[n] = '\0';
    return true;
}

/* Letters, digits, '-', '.' and '_' are what DNS names of hosts consist of. */
static bool is_name(const char *host)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    return host[0] != '\0' && host[strspn(host, allowed)] == '\0';
}

static void classify(cs_native_url *url)
{
    struct in_addr v4;
    struct in6_addr v6;
    url->is_ipv6 = inet_pton(AF_INET6, url->host, &v6) == 1;
    const bool is_ipv4 = inet_pton(AF_INET, url->host, &v4) == 1;
    url->is_address = url->is_ipv6 || is_ipv4;
    url->is_loopback = (url->is_ipv6 && IN6_IS_ADDR_LOOPBACK(&v6)) || (is_ipv4 && (ntohl(v4.s_addr) >> 24) == 127) ||
                       strcasecmp(url->host, "localhost") == 0;
}

static costeer_err parse_host(const char **text, cs_native_url *out, costeer_error *err)
{
    const bool is_bracketed = **text == '[';
    const char *start = *text + (is_bracketed ? 1 : 0);
    const size_t n = strcspn(start, is_bracketed ? "]" : ":/?#");
    if (is_bracketed && start[n] != ']') {
        return refuse(out, err, "has a '[' without a ']'");
    }
    if (!copy(out->host, sizeof out->host, start, n)) {
        return refuse(out, err, "has a host name of more than 253 characters");
    }
    *text = start + n + (is_bracketed ? 1 : 0);
    classify(out);
    if (is_bracketed != out->is_ipv6 || (!out->is_address && !is_name(out->host))) {
        return refuse(out, err,
                      n == 0 ? "has no host" : "has a host that is neither a name nor an address (IPv6 goes in brackets)");
    }
    return COSTEER_OK;
}

static costeer_err parse_port(const char **text, cs_native_url *out, costeer_error *err)
{
    out->port = out->is_tls ? 443 : 80; /* RFC 6455 section 3 */
    if (**text != ':') {
        return COSTEER_OK;
    }
    const char *start = *text + 1;
    const size_t n = strcspn(start, "/?#");
    char digits[8];
    int64_t port = 0;
    if (!copy(digits, sizeof digits, start, n) || cs_parse_int64(digits, &port) != CS_PARSE_OK || port < 1 || port > 65535) {
        return refuse(out, err, "has a port that is not a number from 1 to 65535");
    }
    out->port = (int)port;
    *text = start + n;
    return COSTEER_OK;
}

static costeer_err parse_path(const char *text, cs_native_url *out, costeer_error *err)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (*at <= ' ' || *at > '~' || *at == '#') {
            return refuse(out, err, "has a character in its path that does not belong there");
        }
    }
    if (text[0] == '\0') {
        text = "/";
    }
    if (text[0] != '/') {
        return refuse(out, err, "has no '/' before its query");
    }
    return copy(out->path, sizeof out->path, text, strlen(text)) ? COSTEER_OK
                                                                 : refuse(out, err, "has a path of 1,024 bytes or more");
}

/* ---- whole ------------------------------------------------------------------------------------------------------- */

static costeer_err parse(const char *text, const schemes *allowed, cs_native_url *out, costeer_error *err)
{
    *out = (cs_native_url){.is_http = allowed == &http};
    if (text == NULL) {
        return refuse(out, err, "is missing");
    }
    const size_t n_tls = strlen(allowed->tls);
    const size_t n_plain = strlen(allowed->plain);
    if (strncasecmp(text, allowed->tls, n_tls) == 0) {
        out->is_tls = true;
        text += n_tls;
    } else if (strncasecmp(text, allowed->plain, n_plain) == 0) {
        text += n_plain;
    } else {
        return refuse(out, err,
                      out->is_http ? "begins with neither https:// nor http://" : "begins with neither wss:// nor ws://");
    }
    if (memchr(text, '@', strcspn(text, "/?#")) != NULL) {
        return refuse(out, err, "has a user name; a token or key comes from a file");
    }
    costeer_err code = parse_host(&text, out, err);
    if (code == COSTEER_OK) {
        code = parse_port(&text, out, err);
    }
    if (code == COSTEER_OK && text[0] != '\0' && text[0] != '/' && text[0] != '?' && text[0] != '#') {
        return refuse(out, err, "has something behind its host that is neither a port nor a path");
    }
    return code == COSTEER_OK ? parse_path(text, out, err) : code;
}

costeer_err cs_native_url_parse(const char *text, cs_native_url *out, costeer_error *err)
{
    return parse(text, &websocket, out, err);
}

costeer_err cs_native_url_parse_http(const char *text, cs_native_url *out, costeer_error *err)
{
    return parse(text, &http, out, err);
}

void cs_native_url_host_header(const cs_native_url *url, char *out, size_t n)
{
    (void)snprintf(out, n, url->is_ipv6 ? "[%s]:%d" : "%s:%d", url->host, url->port);
}
