/* One row per measure. The order is that of the tables: quality first, then what was private in it, then what it cost. */
#include "eval/measures.h"

#include <math.h>

#define METRIC(name_, title_, decimals_)                                                                                   \
    {                                                                                                                      \
        .key = (name_), .title = (title_), .kind = CS_MEASURE_MEAN, .object = "metrics", .top = (name_), .compared = true, \
        .decimals = (decimals_)                                                                                            \
    }
#define SHARE(name_, title_, top_)                                                                                       \
    {                                                                                                                    \
        .key = (name_), .title = (title_), .kind = CS_MEASURE_RATIO, .top = (top_), .bottom = "n_tokens", .decimals = 1, \
        .percent = true                                                                                                  \
    }

const cs_measure cs_measures[CS_MEASURES] = {
    [CS_MEASURE_COMPLETENESS] = METRIC("completeness", "completeness", 3),
    [CS_MEASURE_VIOLATIONS] = METRIC("violations", "violations", 3),
    [CS_MEASURE_SALUTATION] = METRIC("salutation", "salutation", 2),
    [CS_MEASURE_SIGNATURE] = METRIC("signature", "signature", 2),
    [CS_MEASURE_BROKEN_WORDS] = METRIC("broken_words", "broken words", 2),
    [CS_MEASURE_SEQ_REP_4] = METRIC("seq_rep_4", "seq-rep-4", 3),
    [CS_MEASURE_WINS] =
        {.key = "wins", .title = "wins against the first method", .object = "pairwise", .top = "wins", .decimals = 2},
    [CS_MEASURE_COPIED_RUN] = METRIC("copied_run", "longest copied run, words", 1),
    [CS_MEASURE_ROUGE1] = METRIC("rouge1", "ROUGE-1", 3),
    [CS_MEASURE_ROUGE2] = METRIC("rouge2", "ROUGE-2", 3),
    [CS_MEASURE_ROUGEL] = METRIC("rougeL", "ROUGE-L", 3),
    [CS_MEASURE_BLEU] = METRIC("bleu", "BLEU", 1),
    [CS_MEASURE_METEOR] = METRIC("meteor", "METEOR", 3),
    [CS_MEASURE_CONTEXT_RECALL] = METRIC("context_recall", "context recall", 3),
    [CS_MEASURE_FACT_RECALL] = METRIC("fact_recall", "fact recall", 3),
    [CS_MEASURE_PERPLEXITY] = {.key = "perplexity",
                               .title = "perplexity",
                               .kind = CS_MEASURE_EXP_RATIO,
                               .object = "judge",
                               .top = "logprob",
                               .bottom = "n_tokens",
                               .negative = true,
                               .compared = true,
                               .compared_as = "log-perplexity",
                               .decimals = 2},
    [CS_MEASURE_LENGTH_RATIO] = METRIC("length_ratio", "length ratio", 2),
    [CS_MEASURE_DISTINCT1] = METRIC("distinct1", "distinct-1", 3),
    [CS_MEASURE_DISTINCT2] = METRIC("distinct2", "distinct-2", 3),
    [CS_MEASURE_EXPOSURE] = {.key = "exposure", .title = "exposure, nats", .top = "exposure", .decimals = 1},
    [CS_MEASURE_TOKENS] = {.key = "tokens", .title = "tokens", .top = "n_tokens", .decimals = 1},
    [CS_MEASURE_STEERED] = SHARE("steered", "steered", "n_steered"),
    [CS_MEASURE_GATED] = SHARE("gated", "gated", "n_gated"),
    [CS_MEASURE_SLM_STEPS] = {.key = "slm_steps", .title = "SLM steps", .top = "n_slm_steps", .decimals = 1},
    [CS_MEASURE_UNCERTIFIED] = SHARE("uncertified", "uncertified", "n_uncertified"),
    [CS_MEASURE_NEAR_TIES] = SHARE("near_ties", "near ties", "n_near_ties"),
};

/* A missing member is a null: an older version did not have it. */
static bool read_number(const json_t *object, const char *name, double *out)
{
    const json_t *value = json_object_get(object, name);
    *out = json_is_number(value) ? json_number_value(value) : (double)NAN;
    return json_is_number(value) || value == NULL || json_is_null(value);
}

bool cs_measure_read(const cs_measure *measure, const json_t *line, double *top, double *bottom)
{
    const json_t *object = measure->object != NULL ? json_object_get(line, measure->object) : line;
    *top = (double)NAN;
    *bottom = 1.0;
    if (object == NULL || json_is_null(object)) {
        return true;
    }
    if (!json_is_object(object) || !read_number(object, measure->top, top) ||
        (measure->bottom != NULL && !read_number(object, measure->bottom, bottom))) {
        return false;
    }
    if (!isfinite(*top) || !isfinite(*bottom)) {
        *top = (double)NAN;
        return true;
    }
    *top = measure->negative ? -*top : *top;
    return *bottom >= 0.0;
}
