/* The address of a cloud: ws://host:port/path or wss://host:port/path of a node (RFC 6455 section 3), http(s):// of an engine. */
#ifndef CS_CLOUD_NATIVE_URL_H
#define CS_CLOUD_NATIVE_URL_H

#include <costeer/error.h>
#include <stdbool.h>
#include <stddef.h>

/** A DNS name has at most 253 characters (RFC 1035), a path is bounded so that it fits a request line anywhere. */
#define CS_NATIVE_HOST_MAX 254
#define CS_NATIVE_PATH_MAX 1024

typedef struct cs_native_url {
    bool is_http; /**< http:// or https://; else ws:// or wss:// */
    bool is_tls;
    bool is_address;  /**< the host is a numeric IPv4 or IPv6 address */
    bool is_ipv6;     /**< of them, IPv6: written in brackets in a Host header */
    bool is_loopback; /**< localhost, 127.0.0.0/8 or ::1 */
    int port;         /**< 1 … 65535; 80 and 443 when the URL gives none */
    char host[CS_NATIVE_HOST_MAX];
    char path[CS_NATIVE_PATH_MAX]; /**< begins with '/' */
} cs_native_url;

/**
 * Parse a URL.
 *
 * @return COSTEER_OK; COSTEER_EINVAL: the message says which part is wrong
 */
costeer_err cs_native_url_parse(const char *text, cs_native_url *out, costeer_error *err);

/** The same for http:// and https://. */
costeer_err cs_native_url_parse_http(const char *text, cs_native_url *out, costeer_error *err);

/** Write the Host header's value, "host:port" with brackets where needed, at most n bytes with the NUL. */
void cs_native_url_host_header(const cs_native_url *url, char *out, size_t n);

#endif
