/* One line on a terminal: how much is done, how fast, and how long it will take. */
#include "cli/cmd_eval.h"
#include "util/clock.h"

#include <inttypes.h>
#include <stdio.h>

/* Redrawn at most this often. */
#define DRAW_EVERY_US 100000

#define BAR_WIDTH 20

void cs_eval_progress_start(cs_eval_progress *progress, bool is_shown, size_t n_done, size_t n_all, size_t n_items)
{
    *progress = (cs_eval_progress){
        .is_shown = is_shown, .n_all = n_all, .n_items = n_items, .n_first = n_done, .start_us = cs_clock_us()};
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

void cs_eval_progress_draw(cs_eval_progress *progress, size_t n_done)
{
    int64_t now_us = cs_clock_us();
    if (!progress->is_shown || (progress->drawn_us != 0 && now_us - progress->drawn_us < DRAW_EVERY_US)) {
        return;
    }
    progress->drawn_us = now_us;
    int filled = progress->n_all > 0 ? (int)(n_done * BAR_WIDTH / progress->n_all) : BAR_WIDTH;
    fprintf(stderr, "\r\033[K[%.*s%.*s] %zu/%zu answers", filled, "####################", BAR_WIDTH - filled,
            "....................", n_done, progress->n_all);
    double seconds = (double)(now_us - progress->start_us) * 1e-6;
    double rate = seconds > 0.0 ? (double)(n_done - progress->n_first) / seconds : 0.0;
    if (rate > 0.0) {
        char left[32];
        write_time((int64_t)((double)(progress->n_all - n_done) / rate), left, sizeof left);
        fprintf(stderr, ", %.1f rows/min, %s left", rate * 60.0 / (double)progress->n_items, left);
    }
}

void cs_eval_progress_clear(const cs_eval_progress *progress)
{
    if (progress->is_shown) {
        fputs("\r\033[K", stderr);
    }
}
