/*
 * Everything that comes from a node passes here once, decoded and checked against what was asked for: that it was asked for at
 * all, the order of positions, the epoch, how far the node may go, how many entries. What is of an older epoch was overtaken by a
 * correction and is dropped; anything else that does not fit ends the connection, with the rule's name.
 *
 * Every array is made when an answer is opened or a deepening is asked for; a token costs a decoding and a copy of its entries.
 */
#include "cloud/native_inbox.h"

#include "cloud/native_link.h"
#include "util/clock.h"
#include "util/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Hello, error, ping and account of one message, besides the distributions. */
#define SMALL_FRAMES_BYTES 2048

/* ---- room -------------------------------------------------------------------------------------------------------- */

static size_t entries(const cs_inbox *inbox, int32_t top_k)
{
    return (size_t)(top_k == 0 ? inbox->n_vocab : top_k);
}

static bool reserve_slot(cs_inbox_slot *slot, size_t capacity)
{
    if (capacity <= slot->capacity) {
        return true;
    }
    int32_t *ids = malloc(capacity * sizeof *ids);
    float *values = malloc(capacity * sizeof *values);
    if (ids == NULL || values == NULL) {
        free(ids);
        free(values);
        return false;
    }
    free(slot->ids);
    free(slot->values);
    slot->ids = ids;
    slot->values = values;
    slot->capacity = capacity;
    return true;
}

static void free_slot(cs_inbox_slot *slot)
{
    free(slot->ids);
    free(slot->values);
    *slot = (cs_inbox_slot){.capacity = 0};
}

static costeer_err no_memory(const cs_inbox *inbox, int32_t top_k, costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, "cloud", "no memory for distributions of %zu tokens", entries(inbox, top_k));
}

/* Decoding goes into the scratch slot. */
static bool reserve_scratch(cs_inbox *inbox, size_t capacity)
{
    if (!reserve_slot(&inbox->scratch, capacity)) {
        return false;
    }
    inbox->reader.ids = inbox->scratch.ids;
    inbox->reader.values = inbox->scratch.values;
    inbox->reader.max_ids = inbox->reader.max_values = inbox->scratch.capacity;
    return true;
}

static bool reserve_slots(cs_inbox *inbox, int32_t n_slots, size_t capacity)
{
    if (n_slots > inbox->n_slots) {
        cs_inbox_slot *slots = realloc(inbox->slots, (size_t)n_slots * sizeof *slots);
        if (slots == NULL) {
            return false;
        }
        memset(slots + inbox->n_slots, 0, (size_t)(n_slots - inbox->n_slots) * sizeof *slots);
        inbox->slots = slots;
        inbox->n_slots = n_slots;
    }
    bool ok = true;
    for (int32_t i = 0; ok && i < inbox->n_slots; i++) {
        ok = reserve_slot(&inbox->slots[i], capacity);
    }
    return ok;
}

costeer_err cs_inbox_reserve(cs_inbox *inbox, int32_t top_k, int32_t n_slots, costeer_error *err)
{
    const size_t capacity = entries(inbox, top_k);
    if (!reserve_scratch(inbox, capacity) || !reserve_slots(inbox, n_slots, capacity)) {
        return no_memory(inbox, top_k, err);
    }
    inbox->top_k = top_k;
    return COSTEER_OK;
}

costeer_err cs_inbox_reserve_deepening(cs_inbox *inbox, int32_t top_k, costeer_error *err)
{
    const size_t capacity = entries(inbox, top_k);
    const bool ok = reserve_slot(&inbox->deepened, capacity) && reserve_scratch(inbox, capacity);
    return ok ? COSTEER_OK : no_memory(inbox, top_k, err);
}

size_t cs_inbox_message_max(const cs_inbox *inbox)
{
    costeer_frame frame = {.type = COSTEER_FRAME_DISTRIBUTION};
    frame.as.distribution =
        (costeer_frame_distribution){.form = inbox->top_k == 0 ? COSTEER_FORM_DENSE : COSTEER_FORM_EXACT, .n = inbox->top_k};
    const size_t one = costeer_wire_size_max(&frame, inbox->n_vocab);
    size_t sum = SMALL_FRAMES_BYTES + (size_t)inbox->n_slots * one;
    if (inbox->is_deepening) {
        frame.as.distribution.form = inbox->deepen_top_k == 0 ? COSTEER_FORM_DENSE : COSTEER_FORM_EXACT;
        frame.as.distribution.n = inbox->deepen_top_k;
        sum += costeer_wire_size_max(&frame, inbox->n_vocab);
    }
    return sum;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 0;
}

costeer_err cs_inbox_init(cs_inbox *inbox, const costeer_model *model, costeer_error *err)
{
    const costeer_model_info *info = costeer_model_get_info(model);
    *inbox = (cs_inbox){.n_vocab = info->n_vocab, .reader.from_node = true};
    for (size_t i = 0; i < sizeof inbox->vocab_sha256; i++) {
        inbox->vocab_sha256[i] = (uint8_t)(hex_digit(info->vocab_sha256[2 * i]) << 4 | hex_digit(info->vocab_sha256[2 * i + 1]));
    }
    inbox->reader.seen = calloc(((size_t)inbox->n_vocab + 63) / 64, sizeof *inbox->reader.seen);
    return inbox->reader.seen != NULL ? COSTEER_OK : no_memory(inbox, 0, err);
}

void cs_inbox_dispose(cs_inbox *inbox)
{
    for (int32_t i = 0; i < inbox->n_slots; i++) {
        free_slot(&inbox->slots[i]);
    }
    free(inbox->slots);
    free_slot(&inbox->scratch);
    free_slot(&inbox->deepened);
    free(inbox->reader.seen);
    *inbox = (cs_inbox){.n_vocab = 0};
}

/* ---- what was asked for ------------------------------------------------------------------------------------------ */

void cs_inbox_connect(cs_inbox *inbox)
{
    inbox->has_hello = false;
    inbox->reader.n_vocab = 0; /* until the hello has told that it is ours */
    inbox->ping_us = 0;
    inbox->wants_pong = false;
    inbox->is_open = inbox->is_closing = inbox->has_account = inbox->has_error = false;
    inbox->is_deepening = inbox->has_deepened = false;
}

void cs_inbox_open(cs_inbox *inbox, int32_t first, int32_t limit, int32_t max_tokens)
{
    inbox->is_open = true;
    inbox->is_closing = inbox->has_account = inbox->has_error = false;
    inbox->is_deepening = inbox->has_deepened = false;
    inbox->epoch = 0;
    inbox->first = inbox->next = first;
    inbox->limit = limit;
    inbox->max_tokens = max_tokens;
}

void cs_inbox_correct(cs_inbox *inbox, int32_t next)
{
    inbox->epoch++;
    inbox->first = inbox->next = next;
}

void cs_inbox_deepen(cs_inbox *inbox, int32_t position, int32_t top_k)
{
    inbox->is_deepening = true;
    inbox->has_deepened = false;
    inbox->deepen_position = position;
    inbox->deepen_top_k = top_k;
}

cs_inbox_slot *cs_inbox_find(const cs_inbox *inbox, int32_t position)
{
    return position >= inbox->first && position < inbox->next ? &inbox->slots[position % inbox->n_slots] : NULL;
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

static costeer_err broken(costeer_error *err, const char *rule)
{
    return cs_error_set(err, COSTEER_ECLOUD, "cloud", "the node broke the protocol: %s", rule);
}

static costeer_err check_vocab(const cs_inbox *inbox, const costeer_frame_hello *hello, costeer_error *err)
{
    if (hello->n_vocab == inbox->n_vocab && memcmp(hello->vocab_sha256, inbox->vocab_sha256, sizeof inbox->vocab_sha256) == 0) {
        return COSTEER_OK;
    }
    const uint8_t *node = hello->vocab_sha256;
    const uint8_t *ours = inbox->vocab_sha256;
    return cs_error_set(err, COSTEER_EPAIR, "cloud",
                        "the node's LLM and the SLM have different vocabularies: %d tokens (hash %02x%02x%02x%02x) and %d "
                        "(%02x%02x%02x%02x)",
                        hello->n_vocab, node[0], node[1], node[2], node[3], inbox->n_vocab, ours[0], ours[1], ours[2], ours[3]);
}

static costeer_err receive_hello(cs_inbox *inbox, const costeer_frame_hello *hello, costeer_error *err)
{
    if (inbox->has_hello) {
        return broken(err, "a second hello");
    }
    const costeer_err code = check_vocab(inbox, hello, err);
    if (code != COSTEER_OK) {
        return code;
    }
    if (inbox->knows_node && (strlen(inbox->name) != hello->n_name || memcmp(inbox->name, hello->name, hello->n_name) != 0)) {
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "the node came back with another model; begin the answer again");
    }
    if (!inbox->knows_node) { /* it never changes again: read without the lock */
        memcpy(inbox->name, hello->name, hello->n_name);
        inbox->name[hello->n_name] = '\0';
    }
    inbox->max_context = hello->max_context;
    inbox->max_window = hello->max_window;
    inbox->max_drafts = hello->max_drafts;
    inbox->reader.n_vocab = inbox->n_vocab;
    inbox->reader.max_context = hello->max_context;
    inbox->has_hello = inbox->knows_node = true;
    return COSTEER_OK;
}

static void fill(cs_inbox_slot *slot, const costeer_frame_distribution *d)
{
    const bool is_dense = d->form == COSTEER_FORM_DENSE;
    const size_t n = (size_t)d->n;
    if (!is_dense) {
        memcpy(slot->ids, d->ids, n * sizeof *slot->ids);
    }
    memcpy(slot->values, d->values, n * sizeof *slot->values);
    slot->distribution =
        (costeer_distribution){.position = d->position,
                               .own_token = d->own_token,
                               .compute_us = (int64_t)d->compute_us,
                               .base = {.ids = is_dense ? NULL : slot->ids,
                                        .values = slot->values,
                                        .n = d->n,
                                        .error = d->form == COSTEER_FORM_HALF ? (float)COSTEER_WIRE_HALF_ERROR : 0.0F,
                                        .tail = is_dense ? 0.0F : d->tail}};
}

static costeer_err check_entries(const costeer_frame_distribution *d, int32_t top_k, costeer_error *err)
{
    if ((d->form == COSTEER_FORM_DENSE) != (top_k == 0)) {
        return broken(err, top_k == 0 ? "distribution: only some entries where all were asked for"
                                      : "distribution: all entries where only the best were asked for");
    }
    return top_k == 0 || d->n <= top_k ? COSTEER_OK : broken(err, "distribution: more entries than were asked for");
}

/* The reply to a deepening; in a new epoch when the position was computed again. */
static costeer_err receive_deepened(cs_inbox *inbox, const costeer_frame_distribution *d, costeer_error *err)
{
    if (d->form == COSTEER_FORM_HALF) {
        return broken(err, "distribution: a deepening's reply in 16 bits");
    }
    const costeer_err code = check_entries(d, inbox->deepen_top_k, err);
    if (code != COSTEER_OK) {
        return code;
    }
    fill(&inbox->deepened, d);
    if (d->epoch != inbox->epoch) {
        inbox->epoch = d->epoch;
        inbox->next = d->position + 1;
        inbox->slots[d->position % inbox->n_slots].distribution.own_token = d->own_token;
    }
    inbox->is_deepening = false;
    inbox->has_deepened = true;
    return COSTEER_OK;
}

static costeer_err check_next(const cs_inbox *inbox, const costeer_frame_distribution *d, costeer_error *err)
{
    if (d->epoch != inbox->epoch) {
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "the node broke the protocol: distribution: epoch %d after %d",
                            d->epoch, inbox->epoch);
    }
    if (d->position != inbox->next) {
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "the node broke the protocol: distribution: position %d, %d is next",
                            d->position, inbox->next);
    }
    if (d->position > inbox->limit || d->position >= inbox->max_tokens) {
        return cs_error_set(err, COSTEER_ECLOUD, "cloud",
                            "the node broke the protocol: distribution: position %d, which was not asked for yet", d->position);
    }
    if (d->form == COSTEER_FORM_HALF && !inbox->allows_half) {
        return broken(err, "distribution: in 16 bits, which was not asked for");
    }
    return check_entries(d, inbox->top_k, err);
}

static costeer_err receive_distribution(cs_inbox *inbox, const costeer_frame_distribution *d, costeer_error *err)
{
    if (inbox->is_closing || inbox->has_error) {
        return COSTEER_OK; /* sent before the node knew, or of no use any more */
    }
    if (!inbox->is_open) {
        return broken(err, "distribution: no answer is open");
    }
    if (d->epoch < inbox->epoch) {
        return COSTEER_OK;
    }
    const bool is_later_epoch = d->epoch > inbox->epoch && d->epoch - inbox->epoch == 1;
    if (inbox->is_deepening && d->position == inbox->deepen_position && (d->epoch == inbox->epoch || is_later_epoch)) {
        return receive_deepened(inbox, d, err);
    }
    const costeer_err code = check_next(inbox, d, err);
    if (code == COSTEER_OK) {
        fill(&inbox->slots[d->position % inbox->n_slots], d);
        inbox->next++;
    }
    return code;
}

static costeer_err receive_close(cs_inbox *inbox, const costeer_frame_close *account, costeer_error *err)
{
    if (!inbox->is_closing) {
        return broken(err, "close: nothing was closed");
    }
    inbox->account = *account;
    inbox->has_account = true;
    inbox->is_open = inbox->is_closing = false;
    return COSTEER_OK;
}

static costeer_err receive_error(cs_inbox *inbox, const costeer_frame_error *error)
{
    inbox->has_error = true;
    inbox->error_code = error->code;
    inbox->retry_after_ms = error->retry_after_ms;
    memcpy(inbox->error_text, error->message, error->n_message);
    inbox->error_text[error->n_message] = '\0';
    return COSTEER_OK;
}

static costeer_err receive_ping(cs_inbox *inbox, const costeer_frame_ping *ping, costeer_error *err)
{
    if (!ping->is_reply) {
        inbox->wants_pong = true;
        inbox->pong_nonce = ping->nonce;
        return COSTEER_OK;
    }
    if (inbox->ping_us == 0 || ping->nonce != inbox->ping_nonce) {
        return broken(err, "ping: a reply to nothing");
    }
    const int64_t took = cs_clock_us() - inbox->ping_us;
    inbox->round_trip_us = inbox->round_trip_us == 0 || took < inbox->round_trip_us ? took : inbox->round_trip_us;
    inbox->ping_us = 0;
    return COSTEER_OK;
}

static costeer_err receive_frame(cs_inbox *inbox, const costeer_frame *frame, costeer_error *err)
{
    if (!inbox->has_hello && frame->type != COSTEER_FRAME_HELLO && frame->type != COSTEER_FRAME_ERROR) {
        return broken(err, "it did not begin with a hello");
    }
    switch (frame->type) {
    case COSTEER_FRAME_HELLO:
        return receive_hello(inbox, &frame->as.hello, err);
    case COSTEER_FRAME_DISTRIBUTION:
        return receive_distribution(inbox, &frame->as.distribution, err);
    case COSTEER_FRAME_CLOSE:
        return receive_close(inbox, &frame->as.close, err);
    case COSTEER_FRAME_ERROR:
        return receive_error(inbox, &frame->as.error);
    case COSTEER_FRAME_PING:
        return receive_ping(inbox, &frame->as.ping, err);
    default: /* the decoder lets nothing else pass */
        return broken(err, "a frame that only a device sends");
    }
}

costeer_err cs_inbox_receive(cs_inbox *inbox, const uint8_t *bytes, size_t n, costeer_error *err)
{
    inbox->bytes_down += n + cs_native_link_header_bytes(n, false);
    size_t at = 0;
    do {
        costeer_frame frame;
        size_t n_read = 0;
        costeer_error why = {.message = ""};
        if (costeer_wire_decode(&inbox->reader, bytes + at, n - at, &frame, &n_read, &why) != COSTEER_OK) {
            return cs_error_set(err, COSTEER_ECLOUD, "cloud", "the node broke the protocol: %.400s", why.message);
        }
        const costeer_err code = receive_frame(inbox, &frame, err);
        if (code != COSTEER_OK) {
            return code;
        }
        at += n_read;
    } while (at < n);
    return COSTEER_OK;
}
