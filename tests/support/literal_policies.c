/* The policies of the methods, written out as their papers have them. */
#include "support/literal_policies.h"

#include <math.h>
#include <string.h>

static void copy_row(const double *row, const literal_rows *rows, double *scores)
{
    memcpy(scores, row, (size_t)rows->n_vocab * sizeof *scores);
}

void literal_only_llm(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)weight;
    (void)user;
    copy_row(rows->llm, rows, scores);
}

void literal_only_llm_with(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)weight;
    (void)user;
    copy_row(rows->llm_with, rows, scores);
}

void literal_only_slm(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)weight;
    (void)user;
    copy_row(rows->slm, rows, scores);
}

void literal_only_slm_with(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)weight;
    (void)user;
    copy_row(rows->slm_with, rows, scores);
}

/* The published update (arXiv 2507.04756) with base, delta: T steps of whole arrays. */
static void costeer_loop(const literal_rows *rows, int32_t T, double *p)
{
    const double alpha = 2, beta = 1, lambda = 2, eta = 10;
    static double u_sum[LITERAL_VOCAB_MAX];
    memset(u_sum, 0, sizeof u_sum);
    copy_row(rows->llm, rows, p);
    for (int32_t t = 1; t <= T; t++) {
        for (int32_t i = 0; i < rows->n_vocab; i++) {
            u_sum[i] += alpha * (p[i] - rows->llm[i]) + beta * (rows->slm_with[i] - rows->slm[i]);
            p[i] = (t * lambda * rows->llm[i] + u_sum[i] + p[i] / eta) / (t * lambda + 1 / eta);
        }
        literal_log_softmax(p, rows->n_vocab);
    }
}

void literal_costeer(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)weight;
    (void)user;
    costeer_loop(rows, 20, scores);
}

void literal_light(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)weight;
    (void)user;
    costeer_loop(rows, 1, scores);
}

void literal_ada(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)weight;
    literal_ada_state *ada = user;
    double largest = -INFINITY;
    for (int32_t i = 0; i < rows->n_vocab; i++) {
        largest = fmax(largest, rows->llm[i]);
    }
    ada->n_sure = 1 - exp(largest) < 0.1 ? ada->n_sure + 1 : 0;
    ada->is_off = ada->is_off || ada->n_sure >= 3;
    ada->n_off += ada->is_off;
    if (ada->is_off) {
        copy_row(rows->llm, rows, scores);
    } else {
        costeer_loop(rows, 20, scores);
    }
}

void literal_limited_costeer(const literal_rows *rows, double weight, double *scores, void *user)
{
    const literal_limits *limits = user;
    const double *expert = limits->of_tuning ? rows->tuned : rows->slm_with;
    double divergence = 0, best = -INFINITY;
    for (int32_t i = 0; i < rows->n_vocab; i++) {
        divergence += exp(expert[i]) * (expert[i] - rows->slm[i]);
        best = fmax(best, expert[i]);
    }
    const double share = limits->divergence > 0 ? fmin(1, divergence / limits->divergence) : 1;
    for (int32_t i = 0; i < rows->n_vocab; i++) {
        double delta = expert[i] - rows->slm[i];
        if (exp(expert[i]) < limits->plausibility * exp(best)) {
            delta = fmin(delta, 0);
        }
        scores[i] = rows->llm[i] + weight * share * delta;
    }
}

void literal_context_steering(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)user;
    for (int32_t i = 0; i < rows->n_vocab; i++) {
        scores[i] = rows->llm_with[i] + weight * (rows->llm_with[i] - rows->llm[i]);
    }
}

/* The support by counting, for each token, how much probability is before it. */
void literal_linear_alignment(const literal_rows *rows, double weight, double *scores, void *user)
{
    const double top_p = *(const double *)user;
    const double *with = rows->llm_with;
    for (int32_t i = 0; i < rows->n_vocab; i++) {
        double before = 0;
        for (int32_t j = 0; j < rows->n_vocab; j++) {
            const bool is_before = j < i ? with[j] >= with[i] : with[j] > with[i];
            before += is_before ? exp(with[j]) : 0;
        }
        scores[i] = before < top_p ? with[i] + weight * (with[i] - rows->llm[i]) : -INFINITY;
    }
}

/* Amulet's own loop. */
void literal_amulet(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)weight;
    (void)user;
    const double alpha = 2, lambda = 2, eta = 10;
    static double utilities[LITERAL_VOCAB_MAX];
    memset(utilities, 0, sizeof utilities);
    copy_row(rows->llm_with, rows, scores);
    for (int32_t t = 1; t <= 60; t++) {
        for (int32_t i = 0; i < rows->n_vocab; i++) {
            utilities[i] += alpha * (scores[i] - rows->llm[i]);
            scores[i] = (lambda * rows->llm_with[i] + utilities[i] / t + scores[i] / (eta * t)) / (lambda + 1 / (eta * t));
        }
        literal_log_softmax(scores, rows->n_vocab);
    }
}

void literal_proxy_tuning(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)user;
    for (int32_t i = 0; i < rows->n_vocab; i++) {
        scores[i] = rows->llm[i] + weight * (rows->tuned[i] - rows->slm[i]);
    }
}
