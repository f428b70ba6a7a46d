/* llama.cpp with our patches: attention gives each query what it gives alone, to the last bit, however many queries and threads
 * there are; and that is, up to the rounding of float32, what double precision gives. */
#include "random.h"

#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Keys: no multiple of a tile of 64. */
enum { N_KEYS = 333, N_QUERIES = 70, N_KV_HEADS = 2, MAX_HEADS = 14, MAX_WIDTH = 256, N_STREAMS = 2 };

/* A model's attention. */
typedef struct shape {
    const char *name;
    enum ggml_type type; /* of K and V */
    int width;           /* of a head */
    int n_shared;        /* query heads for one head of K and V */
    int n_streams;       /* sequences with keys of their own */
    float alibi;         /* 0: none */
    float softcap;       /* 0: none */
    bool has_sinks;
    bool has_masks; /* a mask for each head */
} shape;

static const shape shapes[] = {
    {"64 wide", GGML_TYPE_F16, 64, 7, 1, 0, 0, false, false},
    {"64 wide, a head of K for each", GGML_TYPE_F16, 64, 1, 1, 0, 0, false, false},
    {"two streams", GGML_TYPE_F16, 64, 2, 2, 0, 0, false, false},
    {"80 wide", GGML_TYPE_F16, 80, 2, 1, 0, 0, false, false},
    {"96 wide", GGML_TYPE_F16, 96, 1, 1, 0, 0, false, false},
    {"128 wide", GGML_TYPE_F16, 128, 7, 1, 0, 0, false, false},
    {"256 wide, softcap", GGML_TYPE_F16, 256, 2, 1, 0, 5, false, false},
    {"ALiBi", GGML_TYPE_F16, 64, 7, 1, 8, 0, false, false},
    {"sinks", GGML_TYPE_F16, 64, 7, 2, 0, 0, true, false},
    {"a mask for each head", GGML_TYPE_F16, 64, 2, 1, 0, 0, false, true},
    {"all of it, float32", GGML_TYPE_F32, 96, 7, 2, 8, 5, true, true},
};
static const int query_counts[] = {1, 2, 3, 4, 9, 16, 63, 64, 65, N_QUERIES};

static float queries[N_STREAMS * MAX_HEADS * N_QUERIES * MAX_WIDTH];                        /* [stream][head][query][width] */
static float keys[N_STREAMS * N_KV_HEADS * N_KEYS * MAX_WIDTH];                             /* [stream][head][key][width] */
static float values[N_STREAMS * N_KV_HEADS * N_KEYS * MAX_WIDTH];                           /* as keys */
static float masks[N_STREAMS * MAX_HEADS * N_QUERIES * N_KEYS];                             /* [stream][head][query][key] */
static float sinks[MAX_HEADS];                                                              /* [head] */
static float expected[N_STREAMS * N_QUERIES * MAX_HEADS * MAX_WIDTH], out[sizeof expected]; /* [stream][query][head][width] */
static ggml_backend_t backend;

static int n_heads_of(const shape *s)
{
    return N_KV_HEADS * s->n_shared;
}

static int n_masks_of(const shape *s)
{
    return s->has_masks ? n_heads_of(s) : 1;
}

static float scale_of(const shape *s)
{
    return 1.0F / sqrtf((float)s->width);
}

/* ---- the case ---------------------------------------------------------------------------------------------------- */

/* Numbers that F16 has too. */
static void fill(float *to, size_t n, double limit, struct test_random *random)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = ggml_fp16_to_fp32(ggml_fp32_to_fp16((float)test_random_between(random, -limit, limit)));
    }
}

/* Of the last keys each query sees those up to its own; of the first, what a sequence sees of a cache that it shares with
 * another, and some queries see nothing of a whole tile. */
static void fill_masks(const shape *s, struct test_random *random)
{
    for (int m = 0; m < s->n_streams * n_masks_of(s); m++) {
        for (int query = 0; query < N_QUERIES; query++) {
            for (int key = 0; key < N_KEYS; key++) {
                const bool is_later = key > N_KEYS - N_QUERIES + query;
                const bool is_others = (key / 64 == 2 && query % 3 == 0) || (key / 64 < 2 && (key + m) % 5 == 2);
                const float bias = ggml_fp16_to_fp32(ggml_fp32_to_fp16((float)test_random_between(random, -1, 0)));
                masks[((size_t)m * N_QUERIES + (size_t)query) * N_KEYS + (size_t)key] = is_later || is_others ? -INFINITY : bias;
            }
        }
    }
}

static void fill_case(const shape *s, struct test_random *random)
{
    const size_t n_rows = (size_t)s->n_streams * N_KV_HEADS * (size_t)s->width;
    fill(queries, n_rows * (size_t)s->n_shared * N_QUERIES, 4, random);
    fill(keys, n_rows * N_KEYS, 1, random);
    fill(values, n_rows * N_KEYS, 1, random);
    fill(sinks, (size_t)n_heads_of(s), 3, random);
    fill_masks(s, random);
}

/* ---- what llama.cpp gives ---------------------------------------------------------------------------------------- */

static void set(struct ggml_tensor *tensor, const float *from)
{
    const size_t n = (size_t)ggml_nelements(tensor);
    if (tensor->type == GGML_TYPE_F32) {
        ggml_backend_tensor_set(tensor, from, 0, n * sizeof *from);
        return;
    }
    ggml_fp16_t *halves = malloc(n * sizeof *halves);
    assert_non_null(halves);
    ggml_fp32_to_fp16_row(from, halves, (int64_t)n);
    ggml_backend_tensor_set(tensor, halves, 0, n * sizeof *halves);
    free(halves);
}

/* Queries first, …, first + n − 1 of all that a tensor has rows for, [outer][query][row]. */
static void set_part(struct ggml_tensor *tensor, const float *all, int first, int n, size_t n_outer, size_t row)
{
    float *part = malloc(n_outer * (size_t)n * row * sizeof *part);
    assert_non_null(part);
    for (size_t i = 0; i < n_outer; i++) {
        memcpy(part + i * (size_t)n * row, all + (i * N_QUERIES + (size_t)first) * row, (size_t)n * row * sizeof *part);
    }
    set(tensor, part);
    free(part);
}

/* out: [stream][n][head][width] */
static void attend(const shape *s, int first, int n, float *to)
{
    const struct ggml_init_params params = {.mem_size = ggml_tensor_overhead() * 8 + ggml_graph_overhead(), .no_alloc = true};
    struct ggml_context *context = ggml_init(params);
    const int n_heads = n_heads_of(s);
    struct ggml_tensor *q = ggml_new_tensor_4d(context, GGML_TYPE_F32, s->width, n, n_heads, s->n_streams);
    struct ggml_tensor *k = ggml_new_tensor_4d(context, s->type, s->width, N_KEYS, N_KV_HEADS, s->n_streams);
    struct ggml_tensor *v = ggml_new_tensor_4d(context, s->type, s->width, N_KEYS, N_KV_HEADS, s->n_streams);
    struct ggml_tensor *mask = ggml_new_tensor_4d(context, GGML_TYPE_F16, N_KEYS, n, n_masks_of(s), s->n_streams);
    struct ggml_tensor *sink = ggml_new_tensor_1d(context, GGML_TYPE_F32, n_heads);
    struct ggml_tensor *result = ggml_flash_attn_ext(context, q, k, v, mask, scale_of(s), s->alibi, s->softcap);
    ggml_flash_attn_ext_add_sinks(result, s->has_sinks ? sink : NULL);
    struct ggml_cgraph *graph = ggml_new_graph(context);
    ggml_build_forward_expand(graph, result);
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors_from_buft(context, ggml_backend_cpu_buffer_type());
    set_part(q, queries, first, n, (size_t)s->n_streams * (size_t)n_heads, (size_t)s->width);
    set_part(mask, masks, first, n, (size_t)s->n_streams * (size_t)n_masks_of(s), N_KEYS);
    set(k, keys);
    set(v, values);
    set(sink, sinks);
    assert_int_equal(ggml_backend_graph_compute(backend, graph), GGML_STATUS_SUCCESS);
    ggml_backend_tensor_get(result, to, 0, ggml_nbytes(result));
    ggml_backend_buffer_free(buffer);
    ggml_free(context);
}

/* ---- what is right ----------------------------------------------------------------------------------------------- */

/* Press, Smith and Lewis (2022): 2^(−8/n), and its powers; heads beyond a power of two take the odd ones of twice as many. */
static double slope_of(const shape *s, int head)
{
    const int n_heads = n_heads_of(s);
    int power = 1;
    while (power * 2 <= n_heads) {
        power *= 2;
    }
    if (s->alibi <= 0) {
        return 1;
    }
    return head < power ? pow(2, -(double)s->alibi / power * (head + 1))
                        : pow(2, -(double)s->alibi / 2 / power * (2 * (head - power) + 1));
}

static double score(const shape *s, const float *query, const float *key, double mask)
{
    double sum = 0;
    for (int i = 0; i < s->width; i++) {
        sum += (double)query[i] * key[i];
    }
    sum *= scale_of(s);
    return (s->softcap > 0 ? (double)s->softcap * tanh(sum / (double)s->softcap) : sum) + mask;
}

static void attend_exactly(const shape *s, int stream, int query, int head, double *to)
{
    const size_t width = (size_t)s->width;
    const size_t kv = ((size_t)stream * N_KV_HEADS + (size_t)(head / s->n_shared)) * N_KEYS * width;
    const size_t row = ((size_t)stream * (size_t)n_heads_of(s) + (size_t)head) * N_QUERIES + (size_t)query;
    const size_t mask_row = ((size_t)stream * (size_t)n_masks_of(s) + (size_t)(head % n_masks_of(s))) * N_QUERIES + (size_t)query;
    const float *mask = masks + mask_row * N_KEYS;
    double total = s->has_sinks ? exp((double)sinks[head]) : 0;
    memset(to, 0, width * sizeof *to);
    for (size_t key = 0; key < N_KEYS; key++) {
        const double weight =
            exp(score(s, queries + row * width, keys + kv + key * width, slope_of(s, head) * (double)mask[key]));
        total += weight;
        for (size_t i = 0; i < width; i++) {
            to[i] += weight * (double)values[kv + key * width + i];
        }
    }
    for (size_t i = 0; i < width; i++) {
        to[i] /= total;
    }
}

static void check_values(const shape *s)
{
    double exact[MAX_WIDTH];
    const float *got = expected;
    for (int stream = 0; stream < s->n_streams; stream++) {
        for (int query = 0; query < N_QUERIES; query++) {
            for (int head = 0; head < n_heads_of(s); head++, got += s->width) {
                attend_exactly(s, stream, query, head, exact);
                for (int i = 0; i < s->width; i++) {
                    if (!(fabs(exact[i] - (double)got[i]) < 4e-6)) {
                        fail_msg("%s: stream %d, query %d, head %d, value %d: %.8g, not %.8g", s->name, stream, query, head, i,
                                 (double)got[i], exact[i]);
                    }
                }
            }
        }
    }
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

/* Each query alone, in order, to `expected`. */
static void attend_alone(const shape *s)
{
    const size_t row = (size_t)n_heads_of(s) * (size_t)s->width;
    for (int query = 0; query < N_QUERIES; query++) {
        attend(s, query, 1, out);
        for (size_t stream = 0; stream < (size_t)s->n_streams; stream++) {
            memcpy(expected + (stream * N_QUERIES + (size_t)query) * row, out + stream * row, row * sizeof *out);
        }
    }
}

static void check_count(const shape *s, int first, int n, int n_threads)
{
    const size_t n_values = (size_t)n * (size_t)n_heads_of(s) * (size_t)s->width;
    const size_t all = N_QUERIES * (size_t)n_heads_of(s) * (size_t)s->width;
    const size_t skipped = (size_t)first * (size_t)n_heads_of(s) * (size_t)s->width;
    attend(s, first, n, out);
    for (size_t stream = 0; stream < (size_t)s->n_streams; stream++) {
        if (memcmp(out + stream * n_values, expected + stream * all + skipped, n_values * sizeof *out) != 0) {
            fail_msg("%s: queries %d to %d, %d threads: not what each gives alone", s->name, first, first + n - 1, n_threads);
        }
    }
}

static void test_attention__many_queries_give_each_what_it_gives_alone(void **state)
{
    (void)state;
#ifndef COSTEER_TEST_LLAMA_IS_PATCHED
    skip(); /* an installed llama.cpp, without our patches */
#endif
    struct test_random random = {7};
    backend = ggml_backend_cpu_init();
    assert_non_null(backend);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const shape *s = &shapes[i];
        fill_case(s, &random);
        ggml_backend_cpu_set_n_threads(backend, 1);
        attend_alone(s);
        check_values(s);
        for (int threads = 1; threads <= 4; threads++) {
            ggml_backend_cpu_set_n_threads(backend, threads);
            for (size_t k = 0; k < sizeof query_counts / sizeof query_counts[0]; k++) {
                check_count(s, 0, query_counts[k], threads);
                check_count(s, N_QUERIES - query_counts[k], query_counts[k], threads);
            }
        }
    }
    ggml_backend_free(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention__many_queries_give_each_what_it_gives_alone),
    };
    return cmocka_run_group_tests_name("attention", tests, NULL, NULL);
}
