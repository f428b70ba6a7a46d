/*
 * The folder of a run: run.json says what it is, results.jsonl grows, bad_rows.jsonl tells what was left out.
 *
 * A run that was killed is taken up by the same command: its description must be equal, and every complete line of the results
 * must be the one that belongs there. A line that has no end was cut by the kill and goes. The folder is locked before anything
 * in it is looked at, so that of two programs that start at once one writes both description and results; the results too, for
 * file systems that lock no folders.
 */
#include "cli/cmd_eval.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096

/* A description is some KB. */
#define RUN_BYTES_MAX ((size_t)16 << 20)

/* A description is no deeper, and its places have no longer names. */
#define DEPTH_MAX   4
#define PLACE_BYTES 160

static int join(const char *folder, const char *file, char *path)
{
    int n = snprintf(path, PATH_BYTES, "%s/%s", folder, file);
    return n > 0 && n < PATH_BYTES ? CS_EXIT_OK : cs_fail(CS_EXIT_USAGE, "--out: the path is too long");
}

/* ---- the description --------------------------------------------------------------------------------------------- */

static void show_value(const json_t *value, char *buffer, size_t size)
{
    char *text = value != NULL ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    bool is_short = text != NULL && strlen(text) < 60;
    if (json_is_array(value) && !is_short) {
        snprintf(buffer, size, "a list of %zu", json_array_size(value));
    } else {
        snprintf(buffer, size, "%s", value == NULL ? "missing" : (is_short ? text : "another"));
    }
    free(text);
}

static void tell_difference(const char *path, const json_t *there, const json_t *wanted, char *buffer, size_t size)
{
    char a[64];
    char b[64];
    show_value(there, a, sizeof a);
    show_value(wanted, b, sizeof b);
    if (strcmp(a, b) == 0) { /* both too long to be shown */
        snprintf(buffer, size, "%s is not the same", path);
    } else {
        snprintf(buffer, size, "%s is %s there and %s here", path, a, b);
    }
}

/* The first place, by the order of `wanted`, where two values differ. True: found. */
static bool find_difference(const char *path, json_t *there, json_t *wanted, int depth, char *buffer, size_t size)
{
    if (json_equal(there, wanted)) {
        return false;
    }
    const char *key;
    json_t *value;
    if (json_is_object(there) && json_is_object(wanted) && depth < DEPTH_MAX) {
        json_object_foreach(wanted, key, value)
        {
            char below[PLACE_BYTES];
            snprintf(below, sizeof below, "%s%s%s", path, path[0] != '\0' ? "." : "", key);
            if (find_difference(below, json_object_get(there, key), value, depth + 1, buffer, size)) {
                return true;
            }
        }
    }
    for (size_t i = 0; json_is_array(there) && i < json_array_size(wanted) && depth < DEPTH_MAX; i++) {
        char below[PLACE_BYTES];
        snprintf(below, sizeof below, "%s[%zu]", path, i + 1);
        if (find_difference(below, json_array_get(there, i), json_array_get(wanted, i), depth + 1, buffer, size)) {
            return true;
        }
    }
    tell_difference(path[0] != '\0' ? path : "the description", there, wanted, buffer, size);
    return true;
}

const char *cs_eval_difference(const json_t *there, const json_t *wanted, char *buffer, size_t size)
{
    buffer[0] = '\0';
    /* jansson's iterators want what they do not change. */
    (void)find_difference("", (json_t *)(uintptr_t)there, (json_t *)(uintptr_t)wanted, 0, buffer, size);
    return buffer;
}

static int write_json(const char *path, const json_t *value)
{
    cs_output out;
    int error = cs_output_open(&out, path, true);
    if (error != 0) {
        return cs_fail_output(path, error);
    }
    int exit_code = cs_json_print(&out, json_incref((json_t *)(uintptr_t)value));
    if (exit_code == CS_EXIT_OK) {
        error = cs_output_close(&out);
        exit_code = error != 0 ? cs_fail_output(path, error) : CS_EXIT_OK;
    }
    cs_output_discard(&out);
    return exit_code;
}

static bool is_there(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0;
}

/* Compare with the description that is there, or write it. */
static int settle_run(const char *folder, const json_t *run)
{
    char path[PATH_BYTES];
    char results[PATH_BYTES];
    int exit_code = join(folder, "run.json", path);
    if (exit_code != CS_EXIT_OK || join(folder, "results.jsonl", results) != CS_EXIT_OK) {
        return CS_EXIT_USAGE;
    }
    if (!is_there(path)) {
        return is_there(results) ? cs_fail(CS_EXIT_INPUT, "%s: there are results, but no run.json; give another --out", folder)
                                 : write_json(path, run);
    }
    char *text;
    size_t n_bytes;
    int error = cs_file_read(path, RUN_BYTES_MAX, cs_interrupt_wait_readable, &text, &n_bytes);
    if (error != 0) {
        return cs_fail_input(path, error, RUN_BYTES_MAX);
    }
    json_t *there = json_loadb(text, n_bytes, 0, NULL);
    free(text);
    char difference[512];
    if (!json_is_object(there)) {
        exit_code = cs_fail(CS_EXIT_INPUT, "%s: not what costeer eval writes; give another --out", path);
    } else if (cs_eval_difference(there, run, difference, sizeof difference)[0] != '\0') {
        exit_code =
            cs_fail(CS_EXIT_USAGE, "%s: another run is there: %s; give another --out, or remove the folder", path, difference);
    }
    json_decref(there);
    return exit_code;
}

/* ---- bad rows ---------------------------------------------------------------------------------------------------- */

static int write_bad_rows(const char *folder, const cs_eval_rows *rows)
{
    char path[PATH_BYTES];
    int exit_code = join(folder, "bad_rows.jsonl", path);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    cs_output out;
    int error = cs_output_open(&out, path, true);
    for (size_t i = 0; i < rows->n_bad && error == 0 && exit_code == CS_EXIT_OK; i++) {
        const cs_eval_bad *bad = &rows->bad[i];
        exit_code = cs_json_print(
            &out, json_pack("{s:I, s:s?, s:s}", "line", (json_int_t)bad->line, "row", bad->id, "reason", bad->reason));
    }
    if (exit_code == CS_EXIT_OK) {
        error = error != 0 ? error : cs_output_close(&out);
        exit_code = error != 0 ? cs_fail_output(path, error) : CS_EXIT_OK;
    }
    cs_output_discard(&out);
    return exit_code;
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

/* What the n-th line must be of. */
typedef struct plan {
    const cs_eval_rows *rows;
    const costeer_eval_item *items;
    size_t n_items;
    cs_eval_table *table;
} plan;

static bool has_text(const json_t *object, const char *key, const char *text)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value != NULL && strcmp(value, text) == 0;
}

static bool accept_line(const plan *p, size_t n, const char *line, size_t n_bytes)
{
    if (n >= p->rows->n * p->n_items) {
        return false;
    }
    json_t *object = json_loadb(line, n_bytes, JSON_ALLOW_NUL, NULL);
    bool ok = has_text(object, "row", p->rows->rows[n / p->n_items].id) &&
              has_text(object, "label", p->items[n % p->n_items].label) && json_is_object(json_object_get(object, "metrics"));
    if (ok) {
        cs_eval_table_add(p->table, n % p->n_items, object);
    }
    json_decref(object);
    return ok;
}

/* Count the complete lines, which must be those of the plan; *end is where they end. */
static int read_results(FILE *in, const char *path, const plan *p, size_t *n_done, off_t *end)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    int exit_code = CS_EXIT_OK;
    *n_done = 0;
    *end = 0;
    while (exit_code == CS_EXIT_OK && (n = getline(&line, &capacity, in)) > 0 && line[n - 1] == '\n') {
        if (!accept_line(p, *n_done, line, (size_t)n - 1)) {
            exit_code = cs_fail(CS_EXIT_INPUT,
                                "%s:%zu: not the result that belongs there; it was changed: remove the folder, or the "
                                "lines from there on",
                                path, *n_done + 1);
        } else {
            *end += (off_t)n;
            ++*n_done;
        }
    }
    if (exit_code == CS_EXIT_OK && ferror(in) != 0) {
        exit_code = cs_fail_input(path, errno, 0);
    }
    free(line);
    return exit_code;
}

/* The lock belongs to the open file, which both descriptors share. */
static int take_up(cs_eval_folder *folder, const char *path, const plan *p)
{
    int fd = dup(folder->fd);
    FILE *in = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (in == NULL) {
        int error = errno;
        if (fd >= 0) {
            close(fd);
        }
        return cs_fail_input(path, error, 0);
    }
    off_t end;
    int exit_code = read_results(in, path, p, &folder->n_done, &end);
    fclose(in);
    if (exit_code == CS_EXIT_OK && (ftruncate(folder->fd, end) != 0 || lseek(folder->fd, end, SEEK_SET) < 0)) {
        exit_code = cs_fail_output(path, errno);
    }
    return exit_code;
}

static int fail_busy(const char *path)
{
    return cs_fail(CS_EXIT_OUTPUT, "%s: another costeer eval is writing there; wait for its end", path);
}

static int lock_folder(cs_eval_folder *folder)
{
    if (mkdir(folder->path, S_IRWXU | S_IRGRP | S_IXGRP | S_IROTH | S_IXOTH) != 0 && errno != EEXIST) {
        return cs_fail_output(folder->path, errno);
    }
    folder->lock_fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder->lock_fd < 0) {
        return cs_fail_output(folder->path, errno);
    }
    return flock(folder->lock_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK ? fail_busy(folder->path) : CS_EXIT_OK;
}

static int open_results(cs_eval_folder *folder, const plan *p)
{
    char path[PATH_BYTES];
    int exit_code = join(folder->path, "results.jsonl", path);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    folder->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (folder->fd < 0) {
        return cs_fail_output(path, errno);
    }
    if (flock(folder->fd, LOCK_EX | LOCK_NB) != 0) {
        return fail_busy(path);
    }
    return take_up(folder, path, p);
}

int cs_eval_folder_open(cs_eval_folder *folder, const char *path, const json_t *run, const cs_eval_rows *rows,
                        const costeer_eval_item *items, size_t n_items, cs_eval_table *table)
{
    *folder = (cs_eval_folder){.path = path, .lock_fd = -1, .fd = -1};
    plan p = {.rows = rows, .items = items, .n_items = n_items, .table = table};
    int exit_code = lock_folder(folder);
    if (exit_code == CS_EXIT_OK) {
        exit_code = settle_run(path, run);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = open_results(folder, &p);
    }
    return exit_code == CS_EXIT_OK ? write_bad_rows(path, rows) : exit_code;
}

/* One write for the whole line, so that a reader sees whole lines as far as the system can do that. */
int cs_eval_folder_append(cs_eval_folder *folder, const char *line, size_t n_bytes)
{
    char *text = malloc(n_bytes + 1);
    if (text == NULL) {
        return ENOMEM;
    }
    memcpy(text, line, n_bytes);
    text[n_bytes] = '\n';
    size_t done = 0;
    int error = 0;
    while (done < n_bytes + 1 && error == 0) {
        ssize_t n = write(folder->fd, text + done, n_bytes + 1 - done);
        error = n < 0 && errno != EINTR ? errno : 0;
        done += n > 0 ? (size_t)n : 0;
    }
    free(text);
    folder->n_done += error == 0 ? 1 : 0;
    return error;
}

void cs_eval_folder_close(cs_eval_folder *folder)
{
    if (folder->fd >= 0) {
        close(folder->fd);
        folder->fd = -1;
    }
    if (folder->lock_fd >= 0) {
        close(folder->lock_fd);
        folder->lock_fd = -1;
    }
}
