/*
 * An SLM that follows an answer made of another vocabulary's tokens: the modes in which it follows tokens, and the door to byte.
 *
 * Each of the LLM's tokens is spelled with tokens of the SLM, and the SLM's logits are gathered for the LLM's tokens. The logits
 * stay what they are, so that a vocabulary mapped to itself gives the very same bits. A token without a partner gets the row's
 * log-sum-exp in both arrays: its delta is then 0 where the others' are log-ratios of probabilities. map-intersect excludes it
 * instead, in whichever array the sign of the weight asks for.
 */
#include "core/translate.h"

#include "core/translate_byte.h"
#include "util/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct cs_translate {
    cs_translate_params params;
    costeer_vocab_mode mode;
    cs_translate_byte *byte; /* mode byte: the rest is not used */
    int32_t n_llm;
    int32_t n_slm;
    int32_t *lonely; /* [n_lonely] the LLM's tokens without a partner */
    int32_t n_lonely;
    float *rows;  /* [n_sequences][n_llm] gathered */
    float *alone; /* [n_llm] */
    bool has_alone;
};

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static costeer_err allocate(cs_translate *translate, costeer_error *err)
{
    const size_t n_llm = (size_t)translate->n_llm;
    translate->rows = malloc((size_t)translate->params.n_sequences * n_llm * sizeof *translate->rows);
    translate->alone = malloc(n_llm * sizeof *translate->alone);
    translate->lonely = malloc((n_llm + 1) * sizeof *translate->lonely);
    if (translate->rows == NULL || translate->alone == NULL || translate->lonely == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "slm", "no memory for logits of %d tokens", translate->n_llm);
    }
    const int32_t *partners = cs_vocab_map_partners(translate->params.map);
    for (int32_t i = 0; i < translate->n_llm; i++) {
        if (partners[i] < 0) {
            translate->lonely[translate->n_lonely++] = i;
        }
    }
    return COSTEER_OK;
}

costeer_err cs_translate_create(const cs_translate_params *params, cs_translate **out, costeer_error *err)
{
    *out = NULL;
    cs_translate *translate = calloc(1, sizeof *translate);
    if (translate == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "slm", "no memory for its state");
    }
    translate->params = *params;
    translate->mode = costeer_vocab_map_mode(params->map);
    translate->n_llm = cs_vocab_map_n_llm(params->map);
    translate->n_slm = cs_vocab_map_n_slm(params->map);
    const costeer_err code = translate->mode == COSTEER_VOCAB_BYTE ? cs_translate_byte_create(params, &translate->byte, err)
                                                                   : allocate(translate, err);
    if (code != COSTEER_OK) {
        cs_translate_free(translate);
        return code;
    }
    *out = translate;
    return COSTEER_OK;
}

void cs_translate_free(cs_translate *translate)
{
    if (translate != NULL) {
        cs_translate_byte_free(translate->byte);
        free(translate->lonely);
        free(translate->rows);
        free(translate->alone);
        free(translate);
    }
}

/* ---- map: gathering ---------------------------------------------------------------------------------------------- */

static float *row_of(const cs_translate *translate, int32_t s)
{
    return translate->rows + (size_t)s * (size_t)translate->n_llm;
}

static void gather(const cs_translate *translate, int32_t s)
{
    const float *logits = cs_lookahead_logits(translate->params.ahead, s);
    const int32_t *partners = cs_vocab_map_partners(translate->params.map);
    float *row = row_of(translate, s);
    const float neutral = translate->n_lonely > 0 ? (float)costeer_logsumexp(logits, translate->n_slm) : 0.0F;
    for (int32_t i = 0; i < translate->n_llm; i++) {
        row[i] = partners[i] < 0 ? neutral : logits[partners[i]];
    }
}

static void gather_all(cs_translate *translate)
{
    for (int32_t s = 0; s < translate->params.n_sequences; s++) {
        gather(translate, s);
    }
    translate->has_alone = false;
}

static void fill_lonely(const cs_translate *translate, int32_t s, float value)
{
    float *row = row_of(translate, s);
    for (int32_t i = 0; i < translate->n_lonely; i++) {
        row[translate->lonely[i]] = value;
    }
}

/* An expert of −inf excludes where the weight is positive, an amateur of −inf where it is negative. One of several deltas that
 * excludes is enough, so those of the other sign stay neutral beside it. */
static void exclude_lonely(const cs_translate *translate, const costeer_delta *deltas, size_t n_deltas)
{
    bool has_positive = false;
    for (size_t i = 0; i < n_deltas; i++) {
        has_positive = has_positive || deltas[i].weight > 0.0;
    }
    fill_lonely(translate, 0, has_positive ? 0.0F : -INFINITY);
    for (size_t i = 0; i < n_deltas; i++) {
        fill_lonely(translate, (int32_t)i + 1, deltas[i].weight > 0.0 ? -INFINITY : 0.0F);
    }
}

/* Give the SLM the tokens that spell the LLM's, all but the last few in steps of a bounded size. */
static costeer_err spell(cs_translate *translate, const int32_t *tokens, size_t n, costeer_error *err)
{
    enum { MANY = 512 };
    int32_t spelled[MANY];
    size_t n_spelled = 0;
    for (size_t i = 0; i < n; i++) {
        const int32_t *more;
        if (tokens[i] < 0 || tokens[i] >= translate->n_llm) {
            return cs_error_set(err, COSTEER_EINVAL, "slm", "token %d is not one of the LLM's %d", tokens[i], translate->n_llm);
        }
        const size_t n_more = cs_vocab_map_spelling(translate->params.map, tokens[i], &more);
        for (size_t j = 0; j < n_more; j++) {
            if (n_spelled == MANY) {
                const costeer_err code = cs_lookahead_advance(translate->params.ahead, spelled, n_spelled, err);
                if (code != COSTEER_OK) {
                    return code;
                }
                n_spelled = 0;
            }
            spelled[n_spelled++] = more[j];
        }
    }
    return n_spelled == 0 ? COSTEER_OK : cs_lookahead_advance(translate->params.ahead, spelled, n_spelled, err);
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

void cs_translate_weigh(cs_translate *translate, const double *weights, size_t n_deltas)
{
    if (translate->byte != NULL) {
        cs_translate_byte_weigh(translate->byte, weights, n_deltas);
    }
}

costeer_err cs_translate_begin(cs_translate *translate, size_t *n_computed, costeer_error *err)
{
    if (translate->byte != NULL) {
        return cs_translate_byte_begin(translate->byte, n_computed, err);
    }
    const costeer_err code = cs_lookahead_prefill(translate->params.ahead, n_computed, err);
    if (code == COSTEER_OK) {
        gather_all(translate);
    }
    return code;
}

costeer_err cs_translate_step(cs_translate *translate, const int32_t *tokens, size_t n, costeer_error *err)
{
    if (translate->byte != NULL) {
        return cs_translate_byte_step(translate->byte, tokens, n, err);
    }
    const costeer_err code = spell(translate, tokens, n, err);
    if (code == COSTEER_OK) {
        gather_all(translate);
    }
    return code;
}

void cs_translate_read(cs_translate *translate, costeer_delta *deltas, size_t n_deltas)
{
    if (translate->mode == COSTEER_VOCAB_MAP_INTERSECT) {
        exclude_lonely(translate, deltas, n_deltas);
    }
    for (size_t i = 0; i < n_deltas; i++) {
        const int32_t s = (int32_t)i + 1;
        const bool is_byte = translate->byte != NULL;
        deltas[i].amateur = is_byte ? cs_translate_byte_row(translate->byte, 0) : row_of(translate, 0);
        deltas[i].expert = is_byte ? cs_translate_byte_row(translate->byte, s) : row_of(translate, s);
    }
}

const float *cs_translate_own_row(const cs_translate *translate, int32_t s)
{
    return translate->byte != NULL ? cs_translate_byte_own_row(translate->byte, s)
                                   : cs_lookahead_logits(translate->params.ahead, s);
}

bool cs_translate_is_normalised(const cs_translate *translate)
{
    return translate->byte != NULL;
}

const float *cs_translate_alone(cs_translate *translate)
{
    if (translate->byte != NULL) {
        return cs_translate_byte_alone(translate->byte);
    }
    if (!translate->has_alone) {
        const float *row = row_of(translate, 0);
        const int32_t *partners = cs_vocab_map_partners(translate->params.map);
        const int32_t *exact = cs_vocab_map_exact(translate->params.map);
        for (int32_t i = 0; i < translate->n_llm; i++) {
            translate->alone[i] = exact[i] >= 0 && exact[i] == partners[i] ? row[i] : -INFINITY;
        }
        translate->has_alone = true;
    }
    return translate->alone;
}
