/*
 * A cloud and a delta source that compute nothing: what they answer is set by the test, and what they are asked is written down.
 *
 * Both write into one journal, so that a test can state the order of all calls in one string.
 */
#ifndef CS_TEST_FAKE_H
#define CS_TEST_FAKE_H

#include <costeer/session.h>

#define FAKE_VOCAB     512
#define FAKE_POSITIONS 16
#define FAKE_END       1 /* the token that ends an answer */

typedef struct fake_journal {
    char text[4096]; /* "open(3,0) begin next(0) draft(7,2) commit(0,7,[8,9]) step(7) … step(8,9)" */
    size_t n;
} fake_journal;

/* Where a call shall fail: the position, or −1; and with what. */
typedef struct fake_fault {
    int32_t at;
    costeer_err code;
} fake_fault;

typedef struct fake_cloud {
    costeer_cloud cloud; /* first */
    fake_journal *journal;
    float logits[FAKE_POSITIONS][FAKE_VOCAB];
    fake_fault open, next, deepen, commit;
    bool is_open;
    int32_t top_k;             /* as open() asked for */
    const costeer_chat *chat;  /* as open() was given */
    int32_t n_drafts;          /* how many drafts it always wants */
    float error;               /* rounding of a sparse base's values in next(): multiples of twice this, or … */
    uint64_t jitter;           /* … not 0: anything within the error, by this seed */
    bool rounds_always;        /* in deepen() too, which is against the rules */
    bool tells_tail;           /* log of the unsent probability with a sparse base */
    int32_t deepest;           /* most entries that it gives of a position, and says so once they are sent; 0: no limit */
    costeer_cloud_stats stats; /* given once the answer is closed */
    int32_t ids[FAKE_VOCAB];
    float values[FAKE_VOCAB];
} fake_cloud;

typedef struct fake_deltas {
    costeer_delta_source source; /* first */
    fake_journal *journal;
    float expert[FAKE_POSITIONS][FAKE_VOCAB]; /* of context 0 */
    float second[FAKE_POSITIONS][FAKE_VOCAB]; /* of context 1 */
    float amateur[FAKE_VOCAB];
    float alone[FAKE_POSITIONS][FAKE_VOCAB]; /* once it speaks */
    int32_t position;
    fake_fault begin, step, draft;
    int32_t drafts[FAKE_POSITIONS]; /* drafts[p] is drafted for position p; 0: no more */
    bool was_private;
    double confidence; /* as the last draft was asked for */
    double draft_weights[COSTEER_DELTAS_MAX];
} fake_deltas;

/** All logits 0, no faults. */
void fake_cloud_init(fake_cloud *cloud, fake_journal *journal);
void fake_deltas_init(fake_deltas *deltas, fake_journal *journal, size_t n_deltas);

/** Give the source an opinion of its own, `alone`. */
void fake_deltas_speak(fake_deltas *deltas);

/** Make the cloud's own choices these, one per position. */
void fake_cloud_prefer(fake_cloud *cloud, const int32_t *tokens, size_t n);

/** A vocabulary whose token i is pieces[i], as far as those go, and "<i>" beyond; FAKE_END ends. `pieces` ends with NULL. */
costeer_vocab fake_vocab(const char *const *pieces);

#endif
