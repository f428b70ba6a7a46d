/* Progress that is quick is not shown on a terminal, where a line that flashes by tells nothing; lines that stay report each end.
 */
#include "cli/progress.h"

#include "cli/message.h"
#include "cli/signals.h"
#include "util/clock.h"

#include <stdio.h>
#include <string.h>

#define SHOWN_AFTER_US     400000
#define REWRITTEN_EVERY_US 100000
#define LINE_EVERY_US      2000000

cs_progress_kind cs_progress_kind_of(bool quiet, bool verbose)
{
    if (quiet) {
        return CS_PROGRESS_NONE;
    }
    if (cs_stderr_is_terminal()) {
        return CS_PROGRESS_REWRITTEN;
    }
    return verbose ? CS_PROGRESS_LINES : CS_PROGRESS_NONE;
}

/* Whether it is time for another line. */
static bool is_due(cs_progress_kind kind, int64_t start_us, int64_t *shown_us)
{
    const int64_t now_us = cs_clock_us();
    const int64_t every_us = kind == CS_PROGRESS_REWRITTEN ? REWRITTEN_EVERY_US : LINE_EVERY_US;
    const int64_t first_us = kind == CS_PROGRESS_REWRITTEN ? SHOWN_AFTER_US : LINE_EVERY_US;
    if (kind == CS_PROGRESS_NONE || now_us - start_us < first_us || now_us - *shown_us < every_us) {
        return false;
    }
    *shown_us = now_us;
    return true;
}

static void erase(bool *is_there)
{
    if (*is_there) {
        fputs("\r\033[K", stderr);
        *is_there = false;
    }
}

/* ---- loading a model --------------------------------------------------------------------------------------------- */

void cs_load_progress_start(cs_load_progress *progress, cs_progress_kind kind, const char *path)
{
    const char *slash = strrchr(path, '/');
    *progress = (cs_load_progress){.kind = kind, .name = slash != NULL ? slash + 1 : path, .start_us = cs_clock_us()};
}

bool cs_load_progress_show(float share, void *user)
{
    cs_load_progress *p = user;
    const int percent = (int)(share * 100.0F);
    if (is_due(p->kind, p->start_us, &p->shown_us)) {
        if (p->kind == CS_PROGRESS_REWRITTEN) {
            fprintf(stderr, "\r\033[Kloading %s: %d%%", p->name, percent);
            p->is_there = true;
        } else {
            cs_fail(CS_EXIT_OK, "loading %s: %d%%", p->name, percent);
        }
    }
    return !cs_interrupted();
}

void cs_load_progress_end(cs_load_progress *progress, bool is_loaded)
{
    erase(&progress->is_there);
    if (is_loaded && progress->kind == CS_PROGRESS_LINES) {
        cs_fail(CS_EXIT_OK, "loaded %s", progress->name);
    }
}

/* ---- downloading ------------------------------------------------------------------------------------------------- */

void cs_transfer_progress_start(cs_transfer_progress *progress, cs_progress_kind kind)
{
    *progress = (cs_transfer_progress){.kind = kind};
}

/* The first piece only starts the clock: what was waited for before is no part of the rate. */
void cs_transfer_progress_show(cs_transfer_progress *progress, const char *file, uint64_t bytes_done, uint64_t bytes_all,
                               uint64_t bytes_got)
{
    cs_transfer_progress *p = progress;
    p->start_us = p->start_us == 0 ? cs_clock_us() : p->start_us;
    if (!is_due(p->kind, p->start_us, &p->shown_us)) {
        return;
    }
    const double rate = (double)bytes_got / ((double)(cs_clock_us() - p->start_us) / 1e6);
    const int64_t left_s = rate > 0 ? (int64_t)((double)(bytes_all - bytes_done) / rate) : 0;
    char line[256];
    (void)snprintf(line, sizeof line, "%.48s: %.1f of %.1f MB, %.1f MB/s, %lld:%02lld left", file, (double)bytes_done / 1e6,
                   (double)bytes_all / 1e6, rate / 1e6, (long long)(left_s / 60), (long long)(left_s % 60));
    if (p->kind == CS_PROGRESS_REWRITTEN) {
        fprintf(stderr, "\r\033[K%s", line);
        p->is_there = true;
    } else {
        cs_fail(CS_EXIT_OK, "%s", line);
    }
}

void cs_transfer_progress_note(cs_transfer_progress *progress, const char *file, const char *note)
{
    erase(&progress->is_there);
    if (progress->kind != CS_PROGRESS_NONE) {
        cs_fail(CS_EXIT_OK, "%.100s: %s", file, note);
    }
}

void cs_transfer_progress_end(cs_transfer_progress *progress)
{
    erase(&progress->is_there);
}

/* ---- reading prompts --------------------------------------------------------------------------------------------- */

void cs_prompt_progress_init(cs_prompt_progress *progress, cs_progress_kind kind)
{
    memset(progress, 0, sizeof *progress);
    progress->kind = kind;
    (void)pthread_mutex_init(&progress->mutex, NULL);
}

void cs_prompt_progress_dispose(cs_prompt_progress *progress)
{
    (void)pthread_mutex_destroy(&progress->mutex);
}

static void show(cs_prompt_progress *p, size_t n_done, size_t n_all)
{
    if (n_done == n_all) {
        erase(&p->is_there);
        if (p->kind == CS_PROGRESS_LINES) {
            cs_fail(CS_EXIT_OK, "prompts: read %zu tokens", n_all);
        }
        memset(p->models, 0, sizeof p->models);
        p->start_us = 0;
    } else if (is_due(p->kind, p->start_us, &p->shown_us)) {
        if (p->kind == CS_PROGRESS_REWRITTEN) {
            fprintf(stderr, "\r\033[Kreading the prompts: %zu of %zu tokens", n_done, n_all);
            p->is_there = true;
        } else {
            cs_fail(CS_EXIT_OK, "reading the prompts: %zu of %zu tokens", n_done, n_all);
        }
    }
}

void cs_prompt_progress_show(const costeer_prompt_progress *step, void *user)
{
    cs_prompt_progress *p = user;
    if (p->kind == CS_PROGRESS_NONE) {
        return;
    }
    (void)pthread_mutex_lock(&p->mutex);
    const size_t at = strcmp(step->model, "llm") == 0 ? 0 : 1;
    p->start_us = p->start_us == 0 ? cs_clock_us() : p->start_us;
    p->models[at].n_done = step->n_done;
    p->models[at].n_all = step->n_all;
    show(p, p->models[0].n_done + p->models[1].n_done, p->models[0].n_all + p->models[1].n_all);
    (void)pthread_mutex_unlock(&p->mutex);
}

void cs_prompt_progress_clear(cs_prompt_progress *progress)
{
    (void)pthread_mutex_lock(&progress->mutex);
    erase(&progress->is_there);
    memset(progress->models, 0, sizeof progress->models);
    progress->start_us = 0;
    (void)pthread_mutex_unlock(&progress->mutex);
}
