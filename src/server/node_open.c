/*
 * Beginning an answer: whether there is room, what the prompt is, how much may wait for the device.
 *
 * A refusal is no broken rule: the device is told why, and may open again on the same connection.
 */
#include "server/node_internal.h"
#include "util/clock.h"

#include <stdlib.h>
#include <string.h>

/* When a device that found the node full may try again. Answers take seconds; a poll a second costs next to nothing. */
#define RETRY_AFTER_MS 1000

static void refuse(cs_connection *connection, cs_refusal reason, costeer_wire_error code, uint32_t retry_after_ms,
                   const char *message)
{
    cs_metrics_add(&connection->node->metrics.refused[reason], 1);
    connection->state = CS_ANSWER_REFUSED;
    cs_connection_push_error(connection, code, retry_after_ms, "%s", message);
}

/* ---- the prompt -------------------------------------------------------------------------------------------------- */

static bool has_role(const costeer_chat_message *message, const char *role)
{
    return message->n_role == strlen(role) && memcmp(message->role, role, message->n_role) == 0;
}

/* The messages as the model's chat template takes them; the decoder let no NUL into a text. Returns what is wrong, or NULL. */
static const char *build_prompt(const costeer_node *node, const costeer_frame_open *open, costeer_tokens *out)
{
    const costeer_chat_message *messages = open->messages;
    const size_t n_system = open->n_messages == 2 && has_role(&messages[0], "system") ? 1 : 0;
    if (open->n_messages != n_system + 1 || !has_role(&messages[n_system], "user")) {
        return "messages: one of the user, and one of the system before it at most, is what this node takes; send tokens";
    }
    costeer_error err = {.code = COSTEER_OK};
    char *system = n_system == 1 ? strndup(messages[0].text, messages[0].n_text) : NULL;
    char *query = strndup(messages[n_system].text, messages[n_system].n_text);
    const char *wrong = NULL;
    if (query == NULL || (n_system == 1 && system == NULL)) {
        wrong = "messages: the node has no memory for them";
    } else if (costeer_prompt_build(node->model, &(costeer_prompt){.system = system, .query = query}, out, &err) != COSTEER_OK) {
        wrong = err.code == COSTEER_EMODEL  ? "messages: this node's model has no chat template; send tokens"
                : err.code == COSTEER_EUTF8 ? "messages: a text is not UTF-8"
                                            : "messages: the user's message is empty";
    }
    free(system);
    free(query);
    return wrong;
}

/* ---- the answer -------------------------------------------------------------------------------------------------- */

static size_t distribution_bytes(const costeer_node *node, int32_t top_k)
{
    const costeer_frame frame = {.type = COSTEER_FRAME_DISTRIBUTION,
                                 .as.distribution = {.form = top_k == 0 ? COSTEER_FORM_DENSE : COSTEER_FORM_EXACT,
                                                     .n = top_k == 0 ? node->n_vocab : top_k}};
    return cs_outbox_record_bytes(costeer_wire_size_max(&frame, node->n_vocab));
}

/*
 * Everything that may be computed before the device says another word: the window or the drafts, the position itself, and the
 * replies to deepenings, of which a device has one under way at a time.
 */
static size_t outbox_bound(const costeer_node *node, const costeer_frame_open *open)
{
    const size_t n_positions = (size_t)open->window + CS_NODE_MAX_DRAFTS + 2;
    const size_t dense = distribution_bytes(node, 0);
    const size_t sparse = distribution_bytes(node, open->top_k);
    return n_positions * sparse + 2 * (dense > sparse ? dense : sparse) + CS_OUTBOX_CONTROL_BYTES;
}

static void prepare(cs_connection *connection, const costeer_frame_open *open)
{
    connection->half = open->half;
    connection->takes_drafts = open->mode != COSTEER_MODE_LOCKSTEP;
    connection->n_accepted = (int32_t)open->n_accepted;
    pthread_mutex_lock(&connection->out.lock);
    connection->out.bound = outbox_bound(connection->node, open);
    connection->end = (cs_answer_end){.is_there = false};
    connection->is_muted = false;
    connection->has_delivered = false;
    pthread_mutex_unlock(&connection->out.lock);
}

static void begin(cs_connection *connection, const costeer_frame_open *open, const int32_t *prompt, size_t n_prompt)
{
    costeer_node *node = connection->node;
    costeer_error err = {.code = COSTEER_OK};
    const costeer_batch_request request = {.prompt = prompt,
                                           .n_prompt = n_prompt,
                                           .accepted = open->accepted,
                                           .n_accepted = open->n_accepted,
                                           .max_tokens = open->max_tokens,
                                           .window = open->window,
                                           .top_k = open->top_k,
                                           .owner = connection->owner};
    prepare(connection, open);
    switch (costeer_batch_open(node->batcher, &request, connection, &connection->answer, &err)) {
    case COSTEER_OK:
        connection->state = CS_ANSWER_OPEN;
        cs_link_add(&node->answers, &connection->answer_link);
        node->n_answers++;
        cs_metrics_add(&node->metrics.opened, 1);
        return;
    case COSTEER_ETOOLONG:
        refuse(connection, CS_REFUSED_TOO_LONG, COSTEER_WIRE_ETOOLONG, 0, err.message);
        return;
    case COSTEER_EINVAL:
        cs_session_violate(connection, COSTEER_WIRE_EPROTOCOL, "open: %s", err.message);
        return;
    default:
        refuse(connection, CS_REFUSED_INVALID, COSTEER_WIRE_EINTERNAL, RETRY_AFTER_MS, "the node could not begin an answer");
        return;
    }
}

static void begin_with_messages(cs_connection *connection, const costeer_frame_open *open)
{
    costeer_tokens tokens = {.n = 0};
    const char *wrong = build_prompt(connection->node, open, &tokens);
    if (wrong != NULL) {
        refuse(connection, CS_REFUSED_INVALID, COSTEER_WIRE_EPROTOCOL, 0, wrong);
    } else {
        begin(connection, open, tokens.ids, tokens.n);
    }
    costeer_tokens_dispose(&tokens);
}

void cs_session_open(cs_connection *connection, const costeer_frame_open *open)
{
    costeer_node *node = connection->node;
    connection->has_opened = true;
    if (open->window > node->params.max_window) {
        cs_session_violate(connection, COSTEER_WIRE_EPROTOCOL, "open: window %d is more than this node's %d", (int)open->window,
                           (int)node->params.max_window);
    } else if (node->is_draining) {
        refuse(connection, CS_REFUSED_DRAINING, COSTEER_WIRE_EDRAINING, 0, "the node is being shut down; use another");
    } else if (node->n_answers >= node->params.max_sessions) {
        refuse(connection, CS_REFUSED_BUSY, COSTEER_WIRE_EBUSY, RETRY_AFTER_MS, "the node is full; try again");
    } else if (open->n_messages > 0) {
        begin_with_messages(connection, open);
    } else {
        begin(connection, open, open->prompt, open->n_prompt);
    }
}
