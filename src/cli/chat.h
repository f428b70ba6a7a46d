/*
 * A conversation: questions, answers, and what is known of the last answer. chat.c has its turns, chat_commands.c what can be
 * typed besides questions, cmd_chat.c reads the lines.
 */
#ifndef CS_CLI_CHAT_H
#define CS_CLI_CHAT_H

#include "cli/line.h"
#include "cli/setup.h"
#include "util/buffer.h"

/** A token of the last answer. */
typedef struct cs_chat_token {
    int32_t token;
    int32_t base_token; /**< what the LLM alone would have taken here */
} cs_chat_token;

typedef struct cs_chat {
    cs_setup setup;
    cs_line_reader *lines;
    size_t n_given;        /**< turns that --messages gave */
    costeer_vocab vocab;   /**< of the last answer */
    cs_chat_token *answer; /**< [n_answer] tokens of the last answer, its end token included */
    size_t n_answer;
    size_t n_changed; /**< of them, those that steering changed */
    int64_t asked_us; /**< when the last answer ended */
    char *saved;      /**< the file that was written last, and may be written again; NULL: none */
    cs_buffer past;   /**< n_past contexts that steered before, each with its NUL: an answer may show them */
    size_t n_past;
    char *named[2 * CS_OPTION_LIST_MAX]; /**< [n_named] texts that /pin and /drop gave */
    size_t n_named;
    bool is_over; /**< nothing more can be written, or somebody asked for the end */
    int exit_code;
} cs_chat;

/**
 * Ask a question, stream the answer to standard output, and make both part of the conversation. What fails leaves the
 * conversation as it was, with a line that says why; an answer that Ctrl-C stopped stays as far as it is.
 *
 * @return an exit code
 */
int cs_chat_ask(cs_chat *chat, const char *question);

/** Say what the LLM alone would have answered to the last question; the conversation stays as it is. Returns an exit code. */
int cs_chat_compare(cs_chat *chat);

/** Forget what was said; contexts, settings and models stay. */
void cs_chat_begin_anew(cs_chat *chat);

/** Do what a line that begins with a slash says. Returns an exit code. */
int cs_chat_command(cs_chat *chat, const char *line);

void cs_chat_dispose(cs_chat *chat);

#endif
