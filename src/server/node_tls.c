/*
 * Certificates: checking what an operator gives, and making some for development.
 *
 * A development certificate is signed by a CA whose key is thrown away, so that trusting ca.pem trusts one certificate for one
 * year and nothing else. Files are created exclusively: nothing is overwritten, and what a failure left half done is removed.
 */
#include "server/node_internal.h"
#include "util/error.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMPONENT "tls"

/* From an hour ago, for clocks that are behind, for a year. */
#define VALID_BEFORE_SECONDS 3600L
#define VALID_DAYS           365

/* RFC 5280, 4.1.2.2: at most 20 bytes, positive; 16 random ones cannot meet again. */
#define SERIAL_BITS 127

/* ---- checking ---------------------------------------------------------------------------------------------------- */

/* OpenSSL's reason for the last failure, without its codes. */
static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text != NULL ? text : "unknown";
}

static costeer_err check_readable(const char *path, costeer_error *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return cs_error_set(err, COSTEER_EIO, COMPONENT, "%.300s: cannot be read: %s", path, strerror(errno));
    }
    close(fd);
    return COSTEER_OK;
}

costeer_err cs_node_check_tls(const char *cert, const char *key, costeer_error *err)
{
    costeer_err code = check_readable(cert, err);
    code = code == COSTEER_OK ? check_readable(key, err) : code;
    if (code != COSTEER_OK) {
        return code;
    }
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL) {
        code = cs_error_set(err, COSTEER_ENOMEM, COMPONENT, "no memory for TLS");
    } else if (SSL_CTX_use_certificate_chain_file(context, cert) != 1) {
        code = cs_error_set(err, COSTEER_EIO, COMPONENT, "%.300s: not a certificate in PEM: %s", cert, reason());
    } else if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        code = cs_error_set(err, COSTEER_EIO, COMPONENT, "%.200s: not a private key in PEM that fits %.200s: %s", key, cert,
                            reason());
    } else if (SSL_CTX_check_private_key(context) != 1) {
        code = cs_error_set(err, COSTEER_EIO, COMPONENT, "%.200s: not the key of %.200s", key, cert);
    }
    SSL_CTX_free(context);
    ERR_clear_error();
    return code;
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    const bool ok = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

static bool set_serial(X509 *cert)
{
    BIGNUM *number = BN_new();
    const bool ok = number != NULL && BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
                    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    return ok;
}

static bool set_name(X509_NAME *name, const char *common_name)
{
    return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"CoSteer development", -1, -1, 0) == 1 &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0) == 1;
}

/* A certificate without its own extensions and signature; issuer NULL: itself. */
static X509 *make_body(EVP_PKEY *key, X509 *issuer, const char *common_name)
{
    X509 *cert = X509_new();
    if (cert == NULL) {
        return NULL;
    }
    const bool ok = X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
                    X509_gmtime_adj(X509_getm_notBefore(cert), -VALID_BEFORE_SECONDS) != NULL &&
                    X509_time_adj_ex(X509_getm_notAfter(cert), VALID_DAYS, 0, NULL) != NULL && X509_set_pubkey(cert, key) == 1 &&
                    set_name(X509_get_subject_name(cert), common_name) &&
                    X509_set_issuer_name(cert, X509_get_subject_name(issuer != NULL ? issuer : cert)) == 1 &&
                    add_extension(cert, issuer != NULL ? issuer : cert, NID_subject_key_identifier, "hash");
    if (!ok) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}

static X509 *make_ca(EVP_PKEY *key)
{
    X509 *ca = make_body(key, NULL, "CoSteer development CA");
    const bool ok = ca != NULL && add_extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
                    add_extension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign") && X509_sign(ca, key, EVP_sha256()) != 0;
    if (!ok) {
        X509_free(ca);
        return NULL;
    }
    return ca;
}

/* Letters, digits, dots and dashes: what may stand in a DNS name, and cannot end OpenSSL's list. */
static bool is_dns_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    return name[0] != '\0' && name[strspn(name, allowed)] == '\0';
}

static X509 *make_leaf(EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key)
{
    char host[256] = "";
    char names[400];
    if (gethostname(host, sizeof host - 1) != 0 || !is_dns_name(host) || strcmp(host, "localhost") == 0) {
        host[0] = '\0';
    }
    (void)snprintf(names, sizeof names, "DNS:localhost,IP:127.0.0.1,IP:::1%s%s", host[0] != '\0' ? ",DNS:" : "", host);
    X509 *leaf = make_body(key, ca, "localhost");
    const bool ok = leaf != NULL && add_extension(leaf, ca, NID_authority_key_identifier, "keyid:always") &&
                    add_extension(leaf, ca, NID_basic_constraints, "critical,CA:FALSE") &&
                    add_extension(leaf, ca, NID_key_usage, "critical,digitalSignature") &&
                    add_extension(leaf, ca, NID_ext_key_usage, "serverAuth") &&
                    add_extension(leaf, ca, NID_subject_alt_name, names) && X509_sign(leaf, ca_key, EVP_sha256()) != 0;
    if (!ok) {
        X509_free(leaf);
        return NULL;
    }
    return leaf;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

typedef struct pem_files {
    BIO *text[3];
    const char *folder;
} pem_files;

/* The key first: what is private is the last thing to be put into a file with the wrong rights. */
static const char *const file_names[3] = {"node-key.pem", "node.pem", "ca.pem"};

static bool fill_files(pem_files *files)
{
    EVP_PKEY *ca_key = EVP_EC_gen("P-256");
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *ca = ca_key != NULL ? make_ca(ca_key) : NULL;
    X509 *leaf = ca != NULL && key != NULL ? make_leaf(key, ca, ca_key) : NULL;
    const bool ok = leaf != NULL && files->text[0] != NULL && files->text[1] != NULL && files->text[2] != NULL &&
                    PEM_write_bio_PrivateKey(files->text[0], key, NULL, NULL, 0, NULL, NULL) == 1 &&
                    PEM_write_bio_X509(files->text[1], leaf) == 1 && PEM_write_bio_X509(files->text[2], ca) == 1;
    X509_free(leaf);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    return ok;
}

static int write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        const ssize_t written = write(fd, bytes, n);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return written < 0 ? errno : EIO;
        }
        bytes += written;
        n -= (size_t)written;
    }
    return fsync(fd) == 0 ? 0 : errno;
}

/* Returns an errno value; a file that was there is left alone, one that was begun is removed. */
static int write_file(int folder, const char *name, BIO *text, mode_t mode)
{
    char *bytes = NULL;
    const long n = BIO_get_mem_data(text, &bytes);
    const int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) {
        return errno;
    }
    int error = write_all(fd, bytes, (size_t)n);
    if (close(fd) != 0 && error == 0) {
        error = errno;
    }
    if (error != 0) {
        (void)unlinkat(folder, name, 0);
    }
    return error;
}

static costeer_err write_files(const pem_files *files, int folder, costeer_error *err)
{
    for (int i = 0; i < 3; i++) {
        const int error = write_file(folder, file_names[i], files->text[i], i == 0 ? 0600 : 0644);
        if (error == 0) {
            continue;
        }
        for (int written = 0; written < i; written++) {
            (void)unlinkat(folder, file_names[written], 0);
        }
        return error == EEXIST ? cs_error_set(err, COSTEER_EIO, COMPONENT,
                                              "%.300s/%s: is there already and is not overwritten; choose another folder",
                                              files->folder, file_names[i])
                               : cs_error_set(err, COSTEER_EIO, COMPONENT, "%.300s/%s: cannot be written: %s", files->folder,
                                              file_names[i], strerror(error));
    }
    return COSTEER_OK;
}

static costeer_err open_folder(const char *folder, int *fd, costeer_error *err)
{
    if (mkdir(folder, 0755) != 0 && errno != EEXIST) {
        return cs_error_set(err, COSTEER_EIO, COMPONENT, "%.300s: cannot be made: %s", folder, strerror(errno));
    }
    *fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *fd >= 0 ? COSTEER_OK
                    : cs_error_set(err, COSTEER_EIO, COMPONENT, "%.300s: cannot be opened: %s", folder, strerror(errno));
}

costeer_err costeer_node_init_tls(const char *folder, costeer_error *err)
{
    if (folder == NULL || folder[0] == '\0') {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "a folder is needed");
    }
    pem_files files = {.folder = folder, .text = {BIO_new(BIO_s_secmem()), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem())}};
    costeer_err code = COSTEER_OK;
    int fd = -1;
    if (!fill_files(&files)) {
        code = cs_error_set(err, COSTEER_EINTERNAL, COMPONENT, "a certificate could not be made: %s", reason());
    }
    code = code == COSTEER_OK ? open_folder(folder, &fd, err) : code;
    code = code == COSTEER_OK ? write_files(&files, fd, err) : code;
    if (fd >= 0) {
        close(fd);
    }
    for (int i = 0; i < 3; i++) {
        BIO_free(files.text[i]);
    }
    ERR_clear_error();
    return code;
}
