/* One way of answering, over all prompts, against a node at some round trip: raw figures. */
#ifndef CS_BENCH_NET_RUN_H
#define CS_BENCH_NET_RUN_H

#include "net_meter.h"
#include "net_prompts.h"

#include <costeer/session.h>

/** A way of answering. The first one is what all others are compared with. */
typedef struct cs_net_mode {
    const char *name;
    costeer_cloud_mode mode;
    bool is_steered;
    bool has_drafts;
    bool is_private; /* drafts with the context */
} cs_net_mode;

#define CS_NET_MODES_MAX 6
extern const cs_net_mode cs_net_modes[CS_NET_MODES_MAX];

/** What all runs have in common. */
typedef struct cs_net_setup {
    const costeer_model *llm; /* the vocabulary is enough */
    const costeer_model *slm;
    const cs_net_prompts *prompts;
    int32_t n_tokens; /* of an answer at most */
    int32_t top_k;
    int32_t window;
    int32_t n_drafts;
    int32_t n_threads_slm;
    double draft_confidence;
    double strength;
    const atomic_bool *cancel;
} cs_net_setup;

/** Sums over the answers of a run. Times in microseconds; "gaps" are from a token to the next, so that prompts do not count. */
typedef struct cs_net_figures {
    int64_t n_tokens;
    int64_t n_gaps;
    int64_t gaps_us;
    int64_t total_us; /* from the start to the last token */
    int64_t n_steered;
    int64_t n_run_starts; /* steered tokens behind one that was not */
    int64_t n_uncertified;
    int64_t n_near_ties;
    int64_t n_deepened; /* positions */
    int64_t bytes_up;
    int64_t bytes_down;
    int64_t n_messages_up;
    int64_t n_corrections;
    int64_t n_deepenings;
    int64_t n_drafts_sent;
    int64_t n_withdrawn;
    int64_t n_reconnects;
    int64_t n_steps;
    int64_t n_wasted_steps;
    int64_t round_trip_us; /* shortest seen; 0: unknown */
    cs_net_meter_sums meter;
} cs_net_figures;

void cs_net_figures_add(cs_net_figures *sum, const cs_net_figures *more);

/** The device's side of one line of answers: a connection, and the SLM when it steers. */
typedef struct cs_net_device {
    const cs_net_setup *setup;
    const cs_net_mode *mode;
    costeer_cloud *cloud;
    cs_net_meter meter;
    costeer_slm *slm; /* NULL: unsteered */
} cs_net_device;

/**
 * Connect a device.
 *
 * @param slm  an SLM to use instead of an own one; NULL: one is made when the mode steers. Stays the caller's
 * @param[out] out  close it in every case
 */
costeer_err cs_net_device_open(const cs_net_setup *setup, const cs_net_mode *mode, int32_t port, costeer_slm *slm,
                               cs_net_device *out, costeer_error *err);
void cs_net_device_close(cs_net_device *device, const costeer_slm *slm);

/** Make the SLM that devices of a bench take turns with. */
costeer_err cs_net_slm_make(const cs_net_setup *setup, costeer_slm **out, costeer_error *err);

/**
 * Answer one prompt and add it to the figures.
 *
 * @param[out] answer  a number that stands for the answer's tokens; may be NULL
 */
costeer_err cs_net_answer(cs_net_device *device, const cs_net_prompt *prompt, cs_net_figures *figures, uint64_t *answer,
                          costeer_error *err);

#endif
