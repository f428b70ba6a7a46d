/*
 * The library under the WebSocket takes what stands before the first ':' of the Host header for the name in the certificate,
 * which is wrong for an IPv6 address. So the check is made here: OpenSSL's own verification, told the host or the address of the
 * URL, and nothing that it refuses is ever accepted. What it refused is remembered, for a message that says what to do.
 */
#include "cloud/native_tls.h"

#include "util/error.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <string.h>

/* Replaces X509_verify_cert() in a handshake (SSL_CTX_set_cert_verify_callback(3)): the same, for our host. */
static int verify(X509_STORE_CTX *store, void *user)
{
    cs_native_tls *tls = user;
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(store);
    const char *host = tls->url->host;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    const int is_set = tls->url->is_address
                           ? X509_VERIFY_PARAM_set1_host(param, NULL, 0) == 1 && X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1
                           : X509_VERIFY_PARAM_set1_ip(param, NULL, 0) == 1 && X509_VERIFY_PARAM_set1_host(param, host, 0) == 1;
    const int result = is_set ? X509_verify_cert(store) : 0;
    if (result <= 0) {
        const int error = X509_STORE_CTX_get_error(store);
        tls->verify_error = error == X509_V_OK ? X509_V_ERR_UNSPECIFIED : error;
        return 0;
    }
    return 1;
}

costeer_err cs_native_tls_init(cs_native_tls *tls, const cs_native_url *url, const char *ca_file, costeer_error *err)
{
    *tls = (cs_native_tls){.url = url, .ca_file = ca_file, .verify_error = X509_V_OK};
    tls->context = SSL_CTX_new(TLS_client_method());
    if (tls->context == NULL || SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION) != 1) {
        cs_native_tls_dispose(tls);
        return cs_error_set(err, COSTEER_ENOMEM, "cloud", "no memory for TLS");
    }
    SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(tls->context, verify, tls);
    const int loaded =
        ca_file != NULL ? SSL_CTX_load_verify_file(tls->context, ca_file) : SSL_CTX_set_default_verify_paths(tls->context);
    ERR_clear_error();
    if (loaded != 1) {
        cs_native_tls_dispose(tls);
        return ca_file == NULL ? cs_error_set(err, COSTEER_EIO, "cloud",
                                              "the system's certificates cannot be read; give a file with --cloud-ca")
                               : cs_error_set(err, COSTEER_EIO, "cloud",
                                              "%s: not readable, or no PEM certificate in it (--cloud-ca)", ca_file);
    }
    return COSTEER_OK;
}

void cs_native_tls_dispose(cs_native_tls *tls)
{
    SSL_CTX_free(tls->context);
    tls->context = NULL;
}

costeer_err cs_native_tls_explain(const cs_native_tls *tls, costeer_error *err)
{
    const char *why = X509_verify_cert_error_string(tls->verify_error);
    const char *store = tls->ca_file != NULL ? tls->ca_file : "the system's certificates";
    switch (tls->verify_error) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return cs_error_set(err, COSTEER_ECLOUD, "cloud",
                            "the node's certificate is for another host than %s: use the name that it was made for",
                            tls->url->host);
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s: the node's certificate is not valid now (%s)", tls->url->host,
                            why);
    default:
        return cs_error_set(err, COSTEER_ECLOUD, "cloud",
                            "%s: the node's certificate is not trusted (%s; checked against %s): give its CA with --cloud-ca",
                            tls->url->host, why, store);
    }
}
