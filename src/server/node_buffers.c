/*
 * What all connections of a node share, made once: what a frame is read into, written from, and a dense distribution made in. The
 * loop deals with one connection at a time, the batcher with one distribution at a time, so one of each is enough.
 */
#include "server/node_internal.h"

#include <stdlib.h>

/* Bytes of text for each token that fits: far more than any language needs (about 4), far less than a token may stand for. */
#define TEXT_BYTES_PER_TOKEN 64

/* A prompt token takes at most 3 bytes at 2^20 tokens of vocabulary, and 5 where it is a plain number. */
#define BYTES_PER_TOKEN 5

#define MESSAGE_SLACK_BYTES 65536

/* The longest frame that a device can ask for: all entries, but in sparse form. */
static size_t longest_frame(const costeer_node *node)
{
    const costeer_frame frame = {.type = COSTEER_FRAME_DISTRIBUTION,
                                 .as.distribution = {.form = COSTEER_FORM_EXACT, .n = node->n_vocab}};
    const size_t n = costeer_wire_size_max(&frame, node->n_vocab);
    return n > CS_NODE_MESSAGE_BYTES ? n : CS_NODE_MESSAGE_BYTES;
}

bool cs_node_create_buffers(costeer_node *node)
{
    const size_t text = (size_t)node->n_ctx * TEXT_BYTES_PER_TOKEN;
    node->message_max = (size_t)node->n_ctx * BYTES_PER_TOKEN + (text < COSTEER_WIRE_TEXT_MAX ? text : COSTEER_WIRE_TEXT_MAX) +
                        MESSAGE_SLACK_BYTES;
    costeer_wire_reader *reader = &node->reader;
    reader->n_vocab = node->n_vocab;
    reader->max_context = node->n_ctx;
    reader->max_ids = (size_t)node->n_ctx + COSTEER_WIRE_DRAFTS_MAX;
    reader->ids = malloc(reader->max_ids * sizeof *reader->ids);
    reader->messages = calloc(COSTEER_WIRE_CHAT_MAX, sizeof *reader->messages);
    node->dense = malloc((size_t)node->n_vocab * sizeof *node->dense);
    node->write_buffer = malloc(LWS_PRE + longest_frame(node));
    return reader->ids != NULL && reader->messages != NULL && node->dense != NULL && node->write_buffer != NULL;
}

void cs_node_free_buffers(costeer_node *node)
{
    free(node->reader.ids);
    free(node->reader.messages);
    free(node->write_buffer);
    free(node->dense);
}
