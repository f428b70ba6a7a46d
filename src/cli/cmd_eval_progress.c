/* How much is done, how fast, and how long it will take: one line that is rewritten on a terminal, else lines that stay. */
#include "cli/cmd_eval.h"
#include "cli/message.h"
#include "util/clock.h"

#include <inttypes.h>
#include <stdio.h>

/* Shown at most this often. */
#define DRAW_EVERY_US 100000
#define LINE_EVERY_US 10000000

#define BAR_WIDTH 20

void cs_eval_progress_start(cs_eval_progress *progress, cs_progress_kind kind, size_t n_done, size_t n_all, size_t n_items)
{
    *progress =
        (cs_eval_progress){.kind = kind, .n_all = n_all, .n_items = n_items, .n_first = n_done, .start_us = cs_clock_us()};
    cs_eval_progress_draw(progress, n_done);
}

static void write_time(int64_t seconds, char *buffer, size_t size)
{
    if (seconds < 120) {
        snprintf(buffer, size, "%" PRId64 " s", seconds);
    } else if (seconds < 7200) {
        snprintf(buffer, size, "%" PRId64 " min", seconds / 60);
    } else {
        snprintf(buffer, size, "%" PRId64 " h %02d min", seconds / 3600, (int)(seconds / 60 % 60));
    }
}

/* ", 12.5 rows/min, 3 min left", or nothing before there is a rate. */
static void write_rate(const cs_eval_progress *progress, size_t n_done, int64_t now_us, char *buffer, size_t size)
{
    const double seconds = (double)(now_us - progress->start_us) * 1e-6;
    const double rate = seconds > 0.0 ? (double)(n_done - progress->n_first) / seconds : 0.0;
    buffer[0] = '\0';
    if (rate > 0.0) {
        char left[32];
        write_time((int64_t)((double)(progress->n_all - n_done) / rate), left, sizeof left);
        snprintf(buffer, size, ", %.1f rows/min, %s left", rate * 60.0 / (double)progress->n_items, left);
    }
}

void cs_eval_progress_draw(cs_eval_progress *progress, size_t n_done)
{
    const int64_t now_us = cs_clock_us();
    const int64_t every_us = progress->kind == CS_PROGRESS_LINES ? LINE_EVERY_US : DRAW_EVERY_US;
    if (progress->kind == CS_PROGRESS_NONE || (progress->drawn_us != 0 && now_us - progress->drawn_us < every_us)) {
        return;
    }
    progress->drawn_us = now_us;
    char rate[96];
    write_rate(progress, n_done, now_us, rate, sizeof rate);
    if (progress->kind == CS_PROGRESS_LINES) {
        cs_fail(CS_EXIT_OK, "%zu of %zu answers%s", n_done, progress->n_all, rate);
        return;
    }
    const int filled = progress->n_all > 0 ? (int)(n_done * BAR_WIDTH / progress->n_all) : BAR_WIDTH;
    fprintf(stderr, "\r\033[K[%.*s%.*s] %zu/%zu answers%s", filled, "####################", BAR_WIDTH - filled,
            "....................", n_done, progress->n_all, rate);
}

void cs_eval_progress_clear(const cs_eval_progress *progress)
{
    if (progress->kind == CS_PROGRESS_REWRITTEN) {
        fputs("\r\033[K", stderr);
    }
}
