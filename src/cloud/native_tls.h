/* TLS towards a cloud node: whom to trust, and that the certificate is for the host of the URL. */
#ifndef CS_CLOUD_NATIVE_TLS_H
#define CS_CLOUD_NATIVE_TLS_H

#include "cloud/native_url.h"

#include <openssl/ssl.h>

/** What a connection is checked against, and what came of it. Written by the connection's thread during a handshake. */
typedef struct cs_native_tls {
    SSL_CTX *context;
    const cs_native_url *url;
    const char *ca_file; /**< NULL: the system's certificates */
    int verify_error;    /**< X509_V_…; X509_V_OK until a certificate was refused */
} cs_native_tls;

/**
 * Prepare TLS 1.2 or later with full verification.
 *
 * @param url, ca_file  must outlive it
 * @return COSTEER_OK; COSTEER_EIO: the CA file is missing or holds no certificate; COSTEER_ENOMEM
 */
costeer_err cs_native_tls_init(cs_native_tls *tls, const cs_native_url *url, const char *ca_file, costeer_error *err);
void cs_native_tls_dispose(cs_native_tls *tls);

/** Say why the node's certificate was refused. */
costeer_err cs_native_tls_explain(const cs_native_tls *tls, costeer_error *err);

#endif
