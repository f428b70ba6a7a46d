/*
 * Running answers for `costeer bench net` with the public interface: a native cloud, a session, and the SLM as in real use.
 *
 * Rates are taken from the first token of an answer to its last one, as its receiver sees them. The time until the first is the
 * prompts', the same in all modes, and closing an answer costs a round trip that nobody waits for.
 */
#include "net_run.h"

#include "util/clock.h"
#include "util/error.h"

#include <stdio.h>

/* A node that does not answer for so long will not answer; the longest step and round trip of a bench are far below. */
#define TIMEOUT_MS 60000

const cs_net_mode cs_net_modes[CS_NET_MODES_MAX] = {
    {.name = "plain", .mode = COSTEER_MODE_STREAMED},
    {.name = "lockstep", .mode = COSTEER_MODE_LOCKSTEP, .is_steered = true},
    {.name = "streamed", .mode = COSTEER_MODE_STREAMED, .is_steered = true},
    {.name = "streamed+private", .mode = COSTEER_MODE_STREAMED, .is_steered = true, .has_drafts = true, .is_private = true},
    {.name = "drafted", .mode = COSTEER_MODE_DRAFTED, .is_steered = true, .has_drafts = true},
    {.name = "drafted+private", .mode = COSTEER_MODE_DRAFTED, .is_steered = true, .has_drafts = true, .is_private = true},
};

/* ---- figures -------------------------------------------------------------------------------------------------------- */

static void add_meter(cs_net_meter_sums *sums, const cs_net_meter_sums *more)
{
    sums->n_positions += more->n_positions;
    sums->n_decided += more->n_decided;
    sums->n_drafting += more->n_drafting;
    sums->compute_us += more->compute_us;
    sums->think_us += more->think_us;
    sums->think_drafting_us += more->think_drafting_us;
    sums->follow_us += more->follow_us;
}

static void note_round_trip(cs_net_figures *figures, int64_t round_trip_us)
{
    if (round_trip_us > 0 && (figures->round_trip_us == 0 || round_trip_us < figures->round_trip_us)) {
        figures->round_trip_us = round_trip_us;
    }
}

void cs_net_figures_add(cs_net_figures *sum, const cs_net_figures *more)
{
    sum->n_tokens += more->n_tokens;
    sum->n_gaps += more->n_gaps;
    sum->gaps_us += more->gaps_us;
    sum->total_us += more->total_us;
    sum->n_steered += more->n_steered;
    sum->n_run_starts += more->n_run_starts;
    sum->n_uncertified += more->n_uncertified;
    sum->n_near_ties += more->n_near_ties;
    sum->n_deepened += more->n_deepened;
    sum->bytes_up += more->bytes_up;
    sum->bytes_down += more->bytes_down;
    sum->n_messages_up += more->n_messages_up;
    sum->n_corrections += more->n_corrections;
    sum->n_deepenings += more->n_deepenings;
    sum->n_drafts_sent += more->n_drafts_sent;
    sum->n_withdrawn += more->n_withdrawn;
    sum->n_reconnects += more->n_reconnects;
    sum->n_steps += more->n_steps;
    sum->n_wasted_steps += more->n_wasted_steps;
    note_round_trip(sum, more->round_trip_us);
    add_meter(&sum->meter, &more->meter);
}

/* ---- the device -------------------------------------------------------------------------------------------------- */

costeer_err cs_net_slm_make(const cs_net_setup *setup, costeer_slm **out, costeer_error *err)
{
    const costeer_slm_params params = {.n_contexts = 1, .n_threads = setup->n_threads_slm, .n_drafts = setup->n_drafts};
    const costeer_err code = costeer_slm_create(setup->slm, &params, out, err);
    if (code == COSTEER_OK) {
        costeer_slm_set_cancel(*out, setup->cancel);
    }
    return code;
}

costeer_err cs_net_device_open(const cs_net_setup *setup, const cs_net_mode *mode, int32_t port, costeer_slm *slm,
                               cs_net_device *out, costeer_error *err)
{
    char url[64];
    *out = (cs_net_device){.setup = setup, .mode = mode};
    (void)snprintf(url, sizeof url, "ws://127.0.0.1:%d", (int)port);
    costeer_native_params params = COSTEER_NATIVE_DEFAULTS;
    params.url = url;
    params.mode = mode->mode;
    params.window = setup->window;
    params.n_drafts = mode->has_drafts ? setup->n_drafts : 0;
    params.drafts_with_corrections = mode->has_drafts && mode->mode == COSTEER_MODE_STREAMED;
    params.timeout_ms = TIMEOUT_MS;
    costeer_err code = costeer_cloud_create_native(setup->slm, &params, setup->cancel, &out->cloud, err);
    if (code == COSTEER_OK && mode->is_steered) {
        out->slm = slm;
        code = slm == NULL ? cs_net_slm_make(setup, &out->slm, err) : COSTEER_OK;
    }
    cs_net_meter_init(&out->meter, out->cloud);
    return code;
}

void cs_net_device_close(cs_net_device *device, const costeer_slm *slm)
{
    costeer_cloud_free(device->cloud);
    if (device->slm != slm) {
        costeer_slm_free(device->slm);
    }
    *device = (cs_net_device){.cloud = NULL};
}

/* ---- an answer --------------------------------------------------------------------------------------------------- */

/* What the session's callback notes. */
typedef struct notes {
    int64_t first_us;
    int64_t last_us;
    int64_t n_run_starts;
    bool was_steered;
} notes;

static bool note_position(const costeer_position *position, void *user)
{
    notes *n = user;
    n->last_us = cs_clock_us();
    if (position->position == 0) {
        n->first_us = n->last_us;
    }
    n->n_run_starts += position->steered && !n->was_steered;
    n->was_steered = position->steered;
    return true;
}

static void add_stats(cs_net_figures *figures, const costeer_cloud_stats *stats)
{
    figures->bytes_up += (int64_t)stats->bytes_up;
    figures->bytes_down += (int64_t)stats->bytes_down;
    figures->n_messages_up += stats->n_messages_up;
    figures->n_corrections += stats->n_corrections;
    figures->n_deepenings += stats->n_deepenings;
    figures->n_drafts_sent += stats->n_drafts_sent;
    figures->n_withdrawn += stats->n_withdrawn;
    figures->n_reconnects += stats->n_reconnects;
    figures->n_steps += stats->n_steps;
    figures->n_wasted_steps += stats->n_wasted_steps;
    note_round_trip(figures, stats->round_trip_us);
}

static void add_answer(cs_net_figures *figures, const costeer_report *report, const notes *n, int64_t start,
                       const cs_net_meter *meter)
{
    costeer_cloud_stats stats;
    costeer_cloud_read_stats(meter->inner, &stats);
    figures->n_tokens += report->n_tokens;
    figures->n_gaps += report->n_tokens - 1;
    figures->gaps_us += n->last_us - n->first_us;
    figures->total_us += n->last_us - start;
    figures->n_steered += report->n_steered;
    figures->n_run_starts += n->n_run_starts;
    figures->n_uncertified += report->n_uncertified;
    figures->n_near_ties += report->n_near_ties;
    figures->n_deepened += report->n_deepened;
    add_stats(figures, &stats);
    add_meter(&figures->meter, &meter->sums);
}

/* FNV-1a over the ids: answers are only ever compared with each other. */
static uint64_t hash_tokens(const int32_t *tokens, size_t n)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ (uint32_t)tokens[i]) * UINT64_C(1099511628211);
    }
    return hash;
}

static costeer_err run_session(cs_net_device *device, const cs_net_prompt *prompt, notes *n, costeer_report *report,
                               uint64_t *answer, costeer_error *err)
{
    const cs_net_setup *setup = device->setup;
    const costeer_vocab vocab = costeer_model_vocab(setup->slm);
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    costeer_session *session = NULL;
    params.strength = setup->strength;
    params.max_tokens = setup->n_tokens;
    params.base_top_k = setup->top_k;
    params.private_drafts = device->mode->is_private;
    params.draft_confidence = setup->draft_confidence;
    params.on_position = note_position;
    params.user = n;
    params.cancel = setup->cancel;
    costeer_delta_source *deltas = device->slm != NULL ? costeer_slm_delta_source(device->slm) : NULL;
    costeer_err code = costeer_session_create(&device->meter.cloud, deltas, &vocab, &params, &session, err);
    if (code == COSTEER_OK) {
        code = costeer_session_run(session, prompt->cloud.ids, prompt->cloud.n, report, err);
    }
    if (code == COSTEER_OK && answer != NULL) {
        size_t n_tokens = 0;
        const int32_t *tokens = costeer_session_tokens(session, &n_tokens);
        *answer = hash_tokens(tokens, n_tokens);
    }
    costeer_session_free(session);
    return code;
}

costeer_err cs_net_answer(cs_net_device *device, const cs_net_prompt *prompt, cs_net_figures *figures, uint64_t *answer,
                          costeer_error *err)
{
    notes n = {.first_us = 0};
    costeer_report report;
    costeer_err code = COSTEER_OK;
    if (device->slm != NULL) {
        code = costeer_slm_set_prompts(device->slm, &prompt->amateur, &prompt->expert, device->setup->n_tokens, err);
    }
    const int64_t start = cs_clock_us();
    if (code == COSTEER_OK) {
        code = run_session(device, prompt, &n, &report, answer, err);
    }
    if (code == COSTEER_OK) {
        add_answer(figures, &report, &n, start, &device->meter);
    }
    return code;
}
