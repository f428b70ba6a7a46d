/*
 * The inner loop of fusion, one per instruction set, and the block routine that certification shares.
 *
 * A kernel computes score(i) = base(i) + sum_j weight_j (expert_j(i) − amateur_j(i)) in double precision: multiply, then add, the
 * terms in order, never a fused multiply-add; where a term is limited (costeer_delta), with its limited delta. So every
 * instruction set, and the scalar rescoring of one token, give the same bits. Kernels know nothing of −inf and NaN: they report
 * that a block holds something non-finite, and the block is scored again by the careful scalar routine of fuse.c.
 */
#ifndef CS_CORE_FUSE_KERNEL_H
#define CS_CORE_FUSE_KERNEL_H

#include <costeer/steer.h>

#if defined(__FAST_MATH__)
#error "fusion relies on NaN, infinities and unfused arithmetic: do not compile it with -ffast-math"
#endif

/* Kernels for x86 vector units are compiled here (by function attribute, no flags) and chosen at run time. -DCS_FUSE_X86=0 builds
 * what other machines get. */
#if !defined(CS_FUSE_X86)
#if defined(__x86_64__) && defined(__GNUC__)
#define CS_FUSE_X86 1
#else
#define CS_FUSE_X86 0
#endif
#endif

/* Entries per block: long enough to make the reduction at its end free, short enough that one odd value costs little, and that
 * its scores (16 KiB) stay in the first-level cache. A multiple of 64: certification marks tokens in 64-bit words. */
#define CS_FUSE_BLOCK ((size_t)2048)

/* A delta with a weight other than 0; where it is limited, greater than 0 (costeer_delta: they change places). */
struct cs_fuse_term {
    const float *expert;
    const float *amateur;
    double weight;
    double floor; /* where the expert is below it, the delta is at most 0; -inf: nowhere */
    double shift; /* subtracted from the delta; 0 without a limit */
};

struct cs_fuse_terms {
    size_t n;
    bool is_limited; /* one of them is */
    struct cs_fuse_term term[COSTEER_DELTAS_MAX];
};

/**
 * Score tokens first … first + n − 1 and find the largest score.
 *
 * @param base    [n] base of these tokens: base[0] belongs to token `first`
 * @param terms   arrays over the whole vocabulary
 * @param scores  [n] or NULL
 * @return false when something was not finite: then scores and max mean nothing
 */
typedef bool (*cs_fuse_block_fn)(const float *base, const struct cs_fuse_terms *terms, size_t first, size_t n, double *scores,
                                 double *max);

/* What a block says of two distributions given by logits. */
struct cs_fuse_moments {
    double expert_max;
    double amateur_max;
    double expert_sum;  /* of exp(expert - expert_max) */
    double amateur_sum; /* of exp(amateur - amateur_max) */
    double cross;       /* of exp(expert - expert_max) * (expert - amateur) */
};

/**
 * Add up a block of 1 to CS_FUSE_BLOCK entries: the same bits on every instruction set (fuse_moments.h).
 *
 * @return false when something was not finite: then the moments mean nothing
 */
typedef bool (*cs_fuse_moments_fn)(const float *expert, const float *amateur, size_t n, struct cs_fuse_moments *out);

struct cs_fuse_kernel {
    const char *name; /* as costeer_fuse_isa() gives it */
    cs_fuse_block_fn block;
    cs_fuse_moments_fn moments;
};

/** The kernel in use. */
const struct cs_fuse_kernel *cs_fuse_kernel_current(void);

/* The kernel of each instruction set; NULL where this machine or this build has none. */
const struct cs_fuse_kernel *cs_fuse_kernel_plain(void);
const struct cs_fuse_kernel *cs_fuse_kernel_avx2(void);
const struct cs_fuse_kernel *cs_fuse_kernel_avx512(void);

/** Use this instruction set from now on ("avx512", "avx2", "plain"; NULL: the best); false when there is none. For tests. */
bool cs_fuse_force_isa(const char *name);

/** Check deltas and drop those of weight 0, which must not be read. `component` names the caller in the error. */
costeer_err cs_fuse_terms_init(struct cs_fuse_terms *terms, const costeer_delta *deltas, size_t n_deltas, const char *component,
                               costeer_error *err);

/**
 * Score a block as a kernel does, but with the rules for −inf; excluded tokens score −inf.
 *
 * @return COSTEER_OK; COSTEER_ENUMERIC: the message names the first token that is NaN or +inf
 */
costeer_err cs_fuse_block(const float *base, const struct cs_fuse_terms *terms, size_t first, size_t n, double *scores,
                          double *max, costeer_error *err);

/* A term's delta of one token. Without a limit the shift of 0 and the floor of -inf change no bit. Written so that NaN stays. */
static inline double cs_fuse_delta(const struct cs_fuse_term *term, size_t token)
{
    const double expert = (double)term->expert[token];
    const double delta = expert - (double)term->amateur[token] - term->shift;
    return expert < term->floor && delta > 0 ? 0 : delta;
}

/* The score of one token; kernels use it for what does not fill a vector. */
static inline double cs_fuse_score(float base, const struct cs_fuse_term *terms, size_t n_terms, const bool is_limited,
                                   size_t token)
{
    double score = (double)base;
    for (size_t j = 0; j < n_terms; j++) {
        const double delta =
            is_limited ? cs_fuse_delta(&terms[j], token) : (double)terms[j].expert[token] - (double)terms[j].amateur[token];
        const double weighted = terms[j].weight * delta;
        score += weighted;
    }
    return score;
}

#endif
