/*
 * The beginning of a file is kept as OID.incomplete and hashed again when its download resumes, so that what takes the name OID
 * has been hashed from its first byte to its last. The lock is the one that huggingface_hub takes for the same file.
 */
#include "hub/hub_fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Attempts in a row that brought nothing; before the second one there is no wait, then 1, 2, 4 seconds. */
#define ATTEMPTS_MAX 5
#define LOCK_POLL_MS 100
#define CHUNK        ((size_t)1 << 20)

/* A download that runs. */
typedef struct transfer {
    cs_hub_job *job;
    const cs_hub_file *file;
    int fd;
    uint64_t n_bytes; /* in the file, all of them hashed */
    EVP_MD_CTX *hash;
    bool has_begun; /* the response that runs brought its first byte */
    bool is_too_long;
    bool is_wrong_range;
    int error; /* errno of a write */
} transfer;

void cs_hub_tell(cs_hub_job *job, const char *note)
{
    if (job->params->progress != NULL) {
        job->progress.note = note;
        job->params->progress(&job->progress, job->params->progress_user);
    }
}

static bool is_canceled(const cs_hub_job *job)
{
    return job->params->cancel != NULL && atomic_load(job->params->cancel);
}

/* False: canceled. */
static bool wait_ms(const cs_hub_job *job, int ms)
{
    for (; ms > 0 && !is_canceled(job); ms -= LOCK_POLL_MS) {
        const struct timespec pause = {.tv_nsec = LOCK_POLL_MS * 1000000L};
        (void)nanosleep(&pause, NULL);
    }
    return !is_canceled(job);
}

static costeer_err canceled(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ECANCELED, "hub", "canceled");
}

static bool print_blob(const cs_hub_job *job, const cs_hub_file *file, const char *suffix, cs_hub_path *out)
{
    return cs_hub_path_print(out, "%s/blobs/%s%s", job->repo_folder.text, file->oid, suffix);
}

/* A blob of another length was damaged after it got its name. */
static bool is_there(const cs_hub_job *job, const cs_hub_file *file)
{
    cs_hub_path path;
    struct stat status;
    if (!print_blob(job, file, "", &path)) {
        return false;
    }
    if (stat(path.text, &status) != 0) { /* where there are no links it stands in the snapshot */
        return cs_hub_path_print(&path, "%s/snapshots/%s/%s", job->repo_folder.text, job->commit, file->path) &&
               stat(path.text, &status) == 0 && S_ISREG(status.st_mode) && (uint64_t)status.st_size == file->bytes;
    }
    return (uint64_t)status.st_size == file->bytes;
}

uint64_t cs_hub_fetch_missing(const cs_hub_job *job, const cs_hub_file *file)
{
    cs_hub_path path;
    struct stat status;
    if (is_there(job, file)) {
        return 0;
    }
    const bool has_begun =
        print_blob(job, file, ".incomplete", &path) && stat(path.text, &status) == 0 && (uint64_t)status.st_size <= file->bytes;
    return has_begun ? file->bytes - (uint64_t)status.st_size : file->bytes;
}

/* ---- the lock ---------------------------------------------------------------------------------------------------- */

/* The file that was locked is still the one of that name: programs may remove it. */
static bool is_current(int fd, const char *path)
{
    struct stat held;
    struct stat named;
    return fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

/* -1: `code` says why. */
static int take_lock(cs_hub_job *job, const cs_hub_file *file, costeer_err *code, costeer_error *err)
{
    cs_hub_path folder;
    cs_hub_path path;
    const char *repo = strrchr(job->repo_folder.text, '/') + 1;
    if (!cs_hub_path_print(&folder, "%s/.locks/%s", job->params->cache_dir, repo) ||
        !cs_hub_path_print(&path, "%s/%s.lock", folder.text, file->oid)) {
        *code = cs_hub_fail_long(err, job->params->cache_dir);
        return -1;
    }
    const int made = cs_hub_make_folder(folder.text);
    for (bool has_told = false; made == 0;) {
        const int fd = open(path.text, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0) {
            break;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_current(fd, path.text)) {
            return fd;
        }
        const int error = errno;
        (void)close(fd);
        if (error != EWOULDBLOCK && error != EINTR && error != 0) {
            errno = error;
            break;
        }
        if (!has_told) {
            cs_hub_tell(job, "another program is pulling this file; waiting for it");
            has_told = true;
        }
        if (!wait_ms(job, LOCK_POLL_MS)) {
            *code = canceled(err);
            return -1;
        }
    }
    *code = cs_hub_fail_file(err, made != 0 ? folder.text : path.text, made != 0 ? made : errno);
    return -1;
}

/* ---- the hash ---------------------------------------------------------------------------------------------------- */

/* SHA-256 of the content, or Git's hash of a file: SHA-1 of "blob LENGTH\0" and the content. */
static bool begin_hash(transfer *t)
{
    const bool is_sha256 = strlen(t->file->oid) == 64;
    char head[32];
    const int n = snprintf(head, sizeof head, "blob %llu", (unsigned long long)t->file->bytes);
    return EVP_DigestInit_ex(t->hash, is_sha256 ? EVP_sha256() : EVP_sha1(), NULL) == 1 &&
           (is_sha256 || EVP_DigestUpdate(t->hash, head, (size_t)n + 1) == 1);
}

static bool end_hash(transfer *t, char hex[CS_HUB_OID_MAX])
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    if (EVP_DigestFinal_ex(t->hash, bytes, &n) != 1 || 2 * n >= CS_HUB_OID_MAX) {
        return false;
    }
    for (unsigned int i = 0; i < n; i++) {
        (void)snprintf(hex + 2 * (size_t)i, 3, "%02x", bytes[i]);
    }
    return true;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static costeer_err no_memory(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, "hub", "no memory for a download");
}

/* Begin again. */
static bool empty_file(transfer *t)
{
    t->job->progress.bytes_done -= t->n_bytes;
    t->n_bytes = 0;
    if (ftruncate(t->fd, 0) != 0 || lseek(t->fd, 0, SEEK_SET) != 0) {
        t->error = errno;
        return false;
    }
    return begin_hash(t);
}

/* Hash what is there of the file. */
static costeer_err read_beginning(transfer *t, const char *path, costeer_error *err)
{
    char *chunk = malloc(CHUNK);
    costeer_err code = chunk != NULL && begin_hash(t) ? COSTEER_OK : no_memory(err);
    while (code == COSTEER_OK) {
        const ssize_t n = read(t->fd, chunk, CHUNK);
        if (n == 0) {
            break;
        }
        if (is_canceled(t->job)) {
            code = canceled(err);
        } else if (n < 0) {
            code = errno == EINTR ? COSTEER_OK : cs_hub_fail_file(err, path, errno);
        } else if (EVP_DigestUpdate(t->hash, chunk, (size_t)n) != 1) {
            code = no_memory(err);
        } else {
            t->n_bytes += (uint64_t)n;
            t->job->progress.bytes_done += (uint64_t)n;
        }
    }
    free(chunk);
    if (code == COSTEER_OK && t->n_bytes > t->file->bytes && !empty_file(t)) {
        code = cs_hub_fail_file(err, path, t->error);
    }
    return code;
}

/* The whole file where a part was asked for: it begins again. */
static bool begin_response(transfer *t, const cs_hub_head *head)
{
    t->has_begun = true;
    if (head->status == 206) {
        t->is_wrong_range = head->range_begin < 0 || (uint64_t)head->range_begin != t->n_bytes;
        return !t->is_wrong_range;
    }
    return t->n_bytes == 0 || empty_file(t);
}

static bool write_piece(const cs_hub_head *head, const char *bytes, size_t n_bytes, void *user)
{
    transfer *t = user;
    if (!t->has_begun && !begin_response(t, head)) {
        return false;
    }
    if (n_bytes > t->file->bytes - t->n_bytes) {
        t->is_too_long = true;
        return false;
    }
    for (size_t n_done = 0; n_done < n_bytes;) {
        const ssize_t n = write(t->fd, bytes + n_done, n_bytes - n_done);
        if (n < 0 && errno != EINTR) {
            t->error = errno;
            return false;
        }
        const size_t n_written = n > 0 ? (size_t)n : 0;
        if (n_written > 0 && EVP_DigestUpdate(t->hash, bytes + n_done, n_written) != 1) {
            t->error = ENOMEM;
            return false;
        }
        n_done += n_written;
        t->n_bytes += n_written;
        t->job->progress.bytes_done += n_written;
        t->job->progress.bytes_got += n_written;
    }
    cs_hub_tell(t->job, NULL);
    return true;
}

/* ---- attempts ---------------------------------------------------------------------------------------------------- */

/* The storage that the hub redirected to may have let a signed address run out; the hub gives a new one. */
static bool is_worth_a_try(cs_hub_result result, const cs_hub_head *head)
{
    if (result == CS_HUB_BROKEN || result == CS_HUB_TIMED_OUT) {
        return true;
    }
    return result == CS_HUB_DONE &&
           (head->status >= 500 || head->status == 200 || head->status == 206 || (head->status == 403 && !head->is_endpoint));
}

static costeer_err fail_stopped(const transfer *t, const char *path, costeer_error *err)
{
    if (t->is_too_long) {
        return cs_error_set(err, COSTEER_ECLOUD, "hub",
                            "%.200s: more comes than the %llu bytes that the hub announced; nothing of it is used", t->file->path,
                            (unsigned long long)t->file->bytes);
    }
    if (t->is_wrong_range) {
        return cs_error_set(err, COSTEER_ECLOUD, "hub", "%.200s: the server sends another part than it was asked for",
                            t->file->path);
    }
    return cs_hub_fail_file(err, path, t->error);
}

/* One request. COSTEER_OK: it may go on with the next one, or all is there. */
static costeer_err attempt(transfer *t, const char *url, const char *path, bool is_last, costeer_error *err)
{
    cs_hub_head head;
    char reason[256];
    char what[CS_HUB_FILE_MAX + 8];
    const uint64_t before = t->n_bytes;
    t->has_begun = false;
    const cs_hub_result result = cs_hub_http_get(t->job->http, url, t->n_bytes, write_piece, t, &head, reason);
    if (result == CS_HUB_STOPPED) {
        return fail_stopped(t, path, err);
    }
    if (t->n_bytes == t->file->bytes && (result != CS_HUB_DONE || head.status < 300)) {
        return result == CS_HUB_CANCELED ? canceled(err) : COSTEER_OK;
    }
    if (is_worth_a_try(result, &head) && (!is_last || t->n_bytes > before)) {
        return COSTEER_OK;
    }
    if (result != CS_HUB_DONE) {
        return cs_hub_api_fail_request(result, reason, err);
    }
    if (head.status == 200 || head.status == 206) {
        return cs_error_set(err, COSTEER_ECLOUD, "hub", "%.200s: %s ends after %llu of %llu bytes; pull again, it resumes",
                            t->file->path, head.host, (unsigned long long)t->n_bytes, (unsigned long long)t->file->bytes);
    }
    (void)snprintf(what, sizeof what, "file %s", t->file->path);
    return cs_hub_api_fail(t->job->params, t->job->name, &head, what, err);
}

static costeer_err download(transfer *t, const char *path, costeer_error *err)
{
    char url[CS_HUB_URL_MAX];
    if (!cs_hub_api_file_url(t->job->params, t->job->name, t->job->commit, t->file->path, url)) {
        return cs_error_set(err, COSTEER_EINVAL, "hub", "the hub's endpoint is too long");
    }
    costeer_err code = COSTEER_OK;
    for (int n_vain = 0; code == COSTEER_OK && t->n_bytes < t->file->bytes;) {
        const uint64_t before = t->n_bytes;
        if (n_vain > 1 && !wait_ms(t->job, 1000 << (n_vain - 2))) {
            return canceled(err);
        }
        code = attempt(t, url, path, n_vain + 1 == ATTEMPTS_MAX, err);
        n_vain = t->n_bytes > before ? 0 : n_vain + 1;
        if (code == COSTEER_OK && t->n_bytes < t->file->bytes) {
            cs_hub_tell(t->job, "the connection broke; the download resumes");
        }
    }
    return code;
}

/* What was downloaded gets its name, or is removed. */
static costeer_err accept(transfer *t, const char *path, costeer_error *err)
{
    char hex[CS_HUB_OID_MAX] = "";
    cs_hub_path blob;
    if (!print_blob(t->job, t->file, "", &blob) || !end_hash(t, hex)) {
        return no_memory(err);
    }
    if (strcmp(hex, t->file->oid) != 0) {
        (void)unlink(path);
        t->job->progress.bytes_done -= t->n_bytes;
        return cs_error_set(
            err, COSTEER_ECLOUD, "hub",
            "%.150s: the hash of what came is %.16s…, the hub's is %.16s…; it was removed: pull again, or tell the hub's owner",
            t->file->path, hex, t->file->oid);
    }
    if (fsync(t->fd) != 0 || rename(path, blob.text) != 0) {
        return cs_hub_fail_file(err, blob.text, errno);
    }
    return COSTEER_OK;
}

static costeer_err fetch_locked(transfer *t, costeer_error *err)
{
    cs_hub_path path;
    if (!print_blob(t->job, t->file, ".incomplete", &path)) {
        return cs_hub_fail_long(err, t->job->repo_folder.text);
    }
    t->fd = open(path.text, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (t->fd < 0) {
        return cs_hub_fail_file(err, path.text, errno);
    }
    t->hash = EVP_MD_CTX_new();
    costeer_err code = t->hash != NULL ? read_beginning(t, path.text, err) : no_memory(err);
    code = code == COSTEER_OK ? download(t, path.text, err) : code;
    code = code == COSTEER_OK ? accept(t, path.text, err) : code;
    EVP_MD_CTX_free(t->hash);
    (void)close(t->fd);
    return code;
}

costeer_err cs_hub_fetch(cs_hub_job *job, const cs_hub_file *file, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    if (is_there(job, file)) {
        job->progress.bytes_done += file->bytes;
        return COSTEER_OK;
    }
    job->progress.file = file->path;
    cs_hub_path blobs;
    if (!cs_hub_path_print(&blobs, "%s/blobs", job->repo_folder.text)) {
        return cs_hub_fail_long(err, job->repo_folder.text);
    }
    const int made = cs_hub_make_folder(blobs.text);
    if (made != 0) {
        return cs_hub_fail_file(err, blobs.text, made);
    }
    const int lock = take_lock(job, file, &code, err);
    if (lock < 0) {
        return code;
    }
    if (is_there(job, file)) { /* whoever was waited for pulled it */
        job->progress.bytes_done += file->bytes;
    } else {
        transfer t = {.job = job, .file = file, .fd = -1};
        code = fetch_locked(&t, err);
    }
    (void)close(lock);
    return code;
}
