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

/* The messages as a prompt has them: copies with a NUL, the system's and the last of the user apart. */
typedef struct conversation {
    costeer_message turns[COSTEER_WIRE_CHAT_MAX];
    size_t n_turns;
    char *system;
    char *query;
} conversation;

static void dispose_conversation(conversation *c)
{
    for (size_t i = 0; i < c->n_turns; i++) {
        free((char *)c->turns[i].content); /* ours */
    }
    free(c->system);
    free(c->query);
}

/* The decoder let no NUL into a text. False when memory is out. */
static bool copy_conversation(const costeer_frame_open *open, size_t n_system, conversation *out)
{
    const costeer_chat_message *messages = open->messages;
    const size_t last = open->n_messages - 1;
    out->system = n_system == 1 ? strndup(messages[0].text, messages[0].n_text) : NULL;
    out->query = strndup(messages[last].text, messages[last].n_text);
    bool ok = out->query != NULL && (n_system == 0 || out->system != NULL);
    for (size_t i = n_system; ok && i < last; i++) {
        char *content = strndup(messages[i].text, messages[i].n_text);
        out->turns[out->n_turns++] =
            (costeer_message){.role = has_role(&messages[i], "user") ? "user" : "assistant", .content = content};
        ok = content != NULL;
    }
    return ok;
}

static const char *describe_failure(costeer_err code)
{
    switch (code) {
    case COSTEER_EMODEL:
        return "messages: this node's model has no chat template that can be used; send tokens";
    case COSTEER_EUTF8:
        return "messages: a text is not UTF-8";
    case COSTEER_ENOMEM:
        return "messages: the node has no memory for them";
    default:
        return "messages: the user's message is empty, or the model's chat template refuses them; send tokens";
    }
}

/* The messages as the model's chat template takes them. Returns what is wrong, or NULL. */
static const char *build_prompt(const cs_connection *connection, const costeer_frame_open *open, costeer_tokens *out)
{
    const costeer_node *node = connection->node;
    const costeer_chat_message *messages = open->messages;
    const size_t n_system = has_role(&messages[0], "system") ? 1 : 0;
    bool is_known = n_system < open->n_messages && has_role(&messages[open->n_messages - 1], "user");
    for (size_t i = n_system; is_known && i < open->n_messages; i++) {
        is_known = has_role(&messages[i], "user") || has_role(&messages[i], "assistant");
    }
    if (!is_known) {
        return "messages: of user and assistant, the user's last, and one of the system before them at most, are what this node "
               "takes";
    }
    costeer_error err = {.code = COSTEER_OK};
    conversation c = {.n_turns = 0};
    const char *wrong = "messages: the node has no memory for them";
    if (copy_conversation(open, n_system, &c)) {
        cs_said_recall(&connection->said, node->model, c.turns, c.n_turns);
        const costeer_prompt prompt = {.system = c.system, .turns = c.turns, .n_turns = c.n_turns, .query = c.query};
        const costeer_err code = costeer_prompt_build(node->model, &prompt, out, &err);
        wrong = code == COSTEER_OK ? NULL : describe_failure(code);
    }
    dispose_conversation(&c);
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
    connection->has_messages = open->n_messages > 0;
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
    const char *wrong = build_prompt(connection, open, &tokens);
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
