/* What a report tells of each label: a table of measures, and how each is read from a line of results.jsonl. */
#ifndef CS_EVAL_MEASURES_H
#define CS_EVAL_MEASURES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/** Index of a measure. */
typedef enum cs_measure_id {
    CS_MEASURE_COMPLETENESS,
    CS_MEASURE_VIOLATIONS,
    CS_MEASURE_SALUTATION,
    CS_MEASURE_SIGNATURE,
    CS_MEASURE_BROKEN_WORDS, /**< not read from a line: it needs the answers of the whole run (results_words.c) */
    CS_MEASURE_SEQ_REP_4,
    CS_MEASURE_WINS,
    CS_MEASURE_COPIED_RUN,
    CS_MEASURE_ROUGE1,
    CS_MEASURE_ROUGE2,
    CS_MEASURE_ROUGEL,
    CS_MEASURE_BLEU,
    CS_MEASURE_METEOR,
    CS_MEASURE_CONTEXT_RECALL,
    CS_MEASURE_FACT_RECALL,
    CS_MEASURE_PERPLEXITY,
    CS_MEASURE_LENGTH_RATIO,
    CS_MEASURE_DISTINCT1,
    CS_MEASURE_DISTINCT2,
    CS_MEASURE_EXPOSURE,
    CS_MEASURE_TOKENS,
    CS_MEASURE_STEERED,
    CS_MEASURE_GATED,
    CS_MEASURE_SLM_STEPS,
    CS_MEASURE_UNCERTIFIED,
    CS_MEASURE_NEAR_TIES,
    CS_MEASURES
} cs_measure_id;

/** How rows become one number. */
typedef enum cs_measure_kind {
    CS_MEASURE_MEAN,     /**< mean over rows */
    CS_MEASURE_RATIO,    /**< sum of tops / sum of bottoms */
    CS_MEASURE_EXP_RATIO /**< e to the power of that */
} cs_measure_kind;

typedef struct cs_measure {
    const char *key;   /**< in the JSON report */
    const char *title; /**< in tables and plots */
    cs_measure_kind kind;
    const char *object;      /**< member of the line that has the numbers; NULL: the line itself */
    const char *top;         /**< member with the number, or the numerator */
    const char *bottom;      /**< MEAN: NULL */
    bool negative;           /**< the number is taken with the other sign */
    bool compared;           /**< against the baseline */
    const char *compared_as; /**< title of the difference, where it is not of the measure itself; NULL: the same */
    int decimals;
    bool percent; /**< shown times 100, with a % */
} cs_measure;

extern const cs_measure cs_measures[CS_MEASURES];

/**
 * Read a measure from a line.
 *
 * @param[out] top     NaN: not measured here
 * @param[out] bottom  1 for a mean
 * @return false when something else than a number, or a null, stands there
 */
bool cs_measure_read(const cs_measure *measure, const json_t *line, double *top, double *bottom);

#endif
