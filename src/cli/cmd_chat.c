/*
 * costeer chat: questions one after the other, each answered as costeer generate would with the conversation before it. A line is
 * read, asked or done, and the next one read: what goes wrong with one gets a line and ends nothing.
 */
#include "cli/chat.h"
#include "cli/cmd.h"
#include "cli/message.h"
#include "cli/signals.h"
#include "cli/text.h"
#include "util/clock.h"

#include <stdlib.h>
#include <string.h>

/* A node is not asked to wait for somebody who has gone home. */
#define KEEP_US ((int64_t)3600 * 1000000)

static const cs_option chat_options[] = {
    {.name = "no-history",
     .kind = CS_OPTION_FLAG,
     .offset = offsetof(cs_settings, no_history),
     .help = "Do not read or write the file of what was typed (terminal only): costeer/chat_history in $XDG_STATE_HOME, else "
             "~/.local/state, which only you may read"},
};

static const cs_option_group group = CS_OPTION_GROUP("Conversation", chat_options);

/* ---- lines ------------------------------------------------------------------------------------------------------- */

static void on_idle(void *user)
{
    cs_chat *chat = user;
    if (chat->setup.ensemble != NULL && cs_clock_us() - chat->asked_us < KEEP_US) {
        costeer_cloud_keep(costeer_ensemble_remote(chat->setup.ensemble));
    }
}

/* The exit code is what ended the program, or a script's first failure; at a terminal failures were seen. */
static void note(cs_chat *chat, int exit_code)
{
    const bool is_first = !cs_line_is_terminal(chat->lines) && chat->exit_code == CS_EXIT_OK;
    if (exit_code != CS_EXIT_OK && (chat->is_over || is_first)) {
        chat->exit_code = exit_code;
    }
}

static void do_line(cs_chat *chat, const char *line)
{
    line += strspn(line, " \t");
    if (cs_text_is_blank(line, strlen(line))) {
        return;
    }
    if (line[0] == '/' && line[1] != '/') {
        note(chat, cs_chat_command(chat, line));
    } else {
        note(chat, cs_chat_ask(chat, line + (line[0] == '/' ? 1 : 0)));
    }
}

/* A signal came. True: it was Ctrl-C at a terminal, which ends an answer or a line and nothing else. */
static bool survives(cs_chat *chat)
{
    if (cs_line_is_terminal(chat->lines) && cs_interrupt_take()) {
        return true;
    }
    chat->exit_code = cs_interrupt_exit_code();
    return false;
}

static void read_lines(cs_chat *chat)
{
    const char *line;
    while (!chat->is_over) {
        const cs_line_end end = cs_line_read(chat->lines, &line);
        if (end == CS_LINE_END) {
            return;
        }
        if (end == CS_LINE_READ) {
            do_line(chat, line);
        } else if (end == CS_LINE_BAD) {
            note(chat, CS_EXIT_INPUT);
        }
        if (cs_interrupted() && !survives(chat)) {
            return;
        }
    }
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static void greet(const cs_chat *chat)
{
    const cs_setup *s = &chat->setup;
    if (s->settings.quiet || !cs_line_is_terminal(chat->lines)) {
        return;
    }
    const size_t n = s->inputs.n_contexts;
    cs_fail(CS_EXIT_OK, "%zu context%s, %s; /help lists the commands, Ctrl-C stops an answer, Ctrl-D ends", n, n == 1 ? "" : "s",
            s->settings.cloud != NULL ? "the LLM's cloud sees questions and answers" : "all on this machine");
}

static int run_steps(cs_chat *chat, const cs_arguments *arguments)
{
    cs_setup *s = &chat->setup;
    const char *fallback = "costeer";
    if (arguments->n > 0) {
        return cs_fail(CS_EXIT_USAGE, "chat takes no query; it reads questions from standard input");
    }
    int exit_code = cs_choices_make(&s->settings, arguments, &fallback, 1, &s->choices);
    exit_code = exit_code == CS_EXIT_OK ? cs_setup_prepare(s, arguments) : exit_code;
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    const cs_line_params params = {.has_history = !s->settings.no_history, .on_idle = on_idle, .user = chat};
    chat->lines = cs_line_create(&params);
    if (chat->lines == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    if (cs_line_is_terminal(chat->lines)) {
        cs_interrupt_keep_asking();
    }
    chat->n_given = s->inputs.conversation.n_turns;
    greet(chat);
    chat->asked_us = cs_clock_us();
    if (!s->inputs.is_trial) {
        char *first = strdup(s->inputs.query);
        note(chat, first != NULL ? cs_chat_ask(chat, first) : cs_fail(CS_EXIT_INTERNAL, "out of memory"));
        free(first);
        if (cs_interrupted() && !survives(chat)) {
            return chat->exit_code;
        }
    }
    read_lines(chat);
    return cs_setup_close_outputs(s, true, chat->exit_code);
}

static int run(const cs_command *self, int argc, char **argv)
{
    cs_chat chat;
    memset(&chat, 0, sizeof chat);
    cs_setup_init(&chat.setup);
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &chat.setup.settings, &arguments, &exit_code)) {
        return exit_code;
    }
    chat.setup.settings.is_needed_default = true;
    chat.setup.settings.is_chat = true;
    exit_code = run_steps(&chat, &arguments);
    cs_chat_dispose(&chat);
    return cs_setup_dispose(&chat.setup, exit_code);
}

const cs_command cs_command_chat = {
    .name = "chat",
    .arguments = "",
    .summary = "hold a conversation with the LLM, steered by what the SLM alone is told",
    .description =
        "Reads a question a line, and answers each as generate would, with the conversation before it. The LLM sees the "
        "questions and "
        "the answers; the SLM also sees the contexts. A turn computes its own tokens only: what was read and written before is "
        "kept, "
        "on this machine, in a node as long as the connection stands, and in engines that keep prefixes.\n"
        "\n"
        "On a terminal a line can be edited, and what was typed before comes back with the arrows and Ctrl-R. Ctrl-C stops an "
        "answer, "
        "which stays in the conversation as far as it is; Ctrl-D on an empty line ends the program. Elsewhere lines are read as "
        "they come, "
        "and the exit code is that of the first one that failed. A backslash at the end of a line goes on with the next; "
        "lines that are pasted into a terminal are one message.\n"
        "\n"
        "A line that begins with a slash is a command:\n"
        "\n"
        "  /context FILE[:WEIGHT]  steer by FILE instead; +FILE: also; off: by none;\n"
        "                          alone: list the contexts\n"
        "  /parts                  what of the contexts the last answer was given\n"
        "  /pin TEXT, /drop TEXT   always or never use parts with TEXT in them, from the\n"
        "                          next question on; off: none; alone: list\n"
        "  /strength X             weight of the contexts; alone: show it\n"
        "  /why                    tokens of the last answer that steering changed\n"
        "  /compare                the LLM's own answer to the last question\n"
        "  /disclosed              what was sent to the cloud, of every context so far\n"
        "  /save FILE              write the conversation, as --messages reads it\n"
        "  /new                    forget the conversation\n"
        "  /help, /quit            and // begins a question with a slash\n"
        "\n"
        "Which parts of the contexts are used is chosen at every question, from all questions so far; what an answer was given "
        "stays in use for the later ones.\n"
        "\n"
        "A question that fails, because the cloud does or the conversation no longer fits, gets one line; the conversation is "
        "then "
        "what it was before, and the question can be asked again. With --messages a conversation goes on where it ended; a last "
        "message of the user is asked at once.",
    .outputs =
        "Answers and what commands show go to standard output; the prompt, progress and messages to standard error. /disclosed "
        "reports as costeer audit does. Every option of generate that is not about a single answer applies to each turn.",
    .examples = "  costeer chat --context notes.txt\n"
                "  costeer chat --cloud wss://big-machine:8790 --cloud-ca tls/ca.pem --cloud-token-file token \\\n"
                "      --slm Qwen2.5-0.5B-Instruct-Q4_0.gguf --context notes.md\n"
                "  costeer chat --context notes.txt <questions.txt",
    .groups = {&cs_group_input_chat, &cs_group_use, &group, &cs_group_template, &cs_group_method, &cs_group_models,
               &cs_group_cloud, &cs_group_steering, &cs_group_answer, &cs_group_output_chat},
    .run = run,
};
