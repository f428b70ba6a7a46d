/*
 * Sentence BLEU as sacreBLEU's sentence_bleu() computes it by default: Papineni et al., BLEU, ACL 2002, orders 1 to 4 over tokens
 * of 13a, case kept, one reference; smoothing "exp" (Chen & Cherry, WMT 2014, method 3); an order that the answer is too short
 * for is left out ("effective order").
 */
#include "eval/metrics_internal.h"

#include <math.h>

#define MAX_ORDER 4

/* The geometric mean of the precisions, in percent. */
static double mean_precision(const cs_overlap_counts counts[MAX_ORDER])
{
    double log_sum = 0.0;
    double smoothing = 1.0;
    int n_orders = 0;
    for (; n_orders < MAX_ORDER && counts[n_orders].n_answer > 0; n_orders++) {
        double n = (double)counts[n_orders].n_answer;
        if (counts[n_orders].n_shared > 0) {
            log_sum += log(100.0 * (double)counts[n_orders].n_shared / n);
        } else {
            smoothing *= 2.0;
            log_sum += log(100.0 / (smoothing * n));
        }
    }
    return exp(log_sum / n_orders);
}

static double score(const cs_overlap_counts counts[MAX_ORDER])
{
    double n_answer = (double)counts[0].n_answer;
    double n_reference = (double)counts[0].n_reference;
    if (counts[0].n_shared == 0) { /* then no longer run is shared either */
        return 0.0;
    }
    double brevity = n_answer < n_reference ? exp(1.0 - n_reference / n_answer) : 1.0;
    return brevity * mean_precision(counts);
}

bool cs_metrics_bleu(const char *answer_text, const char *reference_text, double *bleu)
{
    cs_intern table = {0};
    cs_tokens answer = {0};
    cs_tokens reference = {0};
    cs_overlap_counts counts[MAX_ORDER];
    bool ok = cs_tokens_13a(&table, answer_text, &answer) && cs_tokens_13a(&table, reference_text, &reference);
    for (size_t i = 0; ok && i < MAX_ORDER; i++) {
        ok = cs_metrics_overlap(&answer, &reference, i + 1, &counts[i]);
    }
    if (ok) {
        *bleu = score(counts);
    }
    cs_tokens_dispose(&answer);
    cs_tokens_dispose(&reference);
    cs_intern_dispose(&table);
    return ok;
}
