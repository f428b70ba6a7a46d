/* What generate, compare, eval and score have in common: their options, and what follows from them before any file is opened. */
#ifndef CS_CLI_SETTINGS_H
#define CS_CLI_SETTINGS_H

#include "cli/options.h"

#include <costeer/session.h>

/** Fields as the options set them; see options.h for what a field holds when its option was not given. */
typedef struct cs_settings {
    const char *llm;
    const char *slm;
    const char *model; /* score */
    const char *tuned_slm;
    const char *vocab; /**< a name of costeer_vocab_mode_name() */
    int32_t threads_llm;
    int32_t threads_slm;
    int32_t threads_prompt;
    int32_t ctx_size;
    int32_t gpu_layers_llm;
    int32_t gpu_layers_slm;

    cs_option_list contexts;
    const char *use;        /**< "all", "needed"; NULL: not given, or there is no such option */
    bool is_needed_default; /**< without --use: as needed, if a model can judge; not an option */
    cs_option_list pins;
    cs_option_list drops;
    const char *selector;
    bool confirm;
    const char *query_file;
    const char *system;
    const char *messages;
    const char *framing;
    const char *context_template;
    const char *amateur_template;
    const char *chat_template;
    const char *template_file;
    const char *llm_template;
    const char *slm_template;
    bool no_default_system;
    const char *thinking;
    int32_t thinking_budget;
    const char *answer_prefix;
    const char *text; /* score */
    bool with_end;    /* score */

    const char *cloud; /**< NULL: the LLM runs in this process */
    const char *cloud_ca;
    const char *cloud_token_file;
    const char *cloud_key_file;
    const char *cloud_model;
    const char *cloud_mode;
    int32_t window;
    const char *draft;
    double draft_confidence;
    int32_t draft_length;
    bool half_precision;
    int32_t timeout_ms;
    const char *on_cloud_failure;
    bool allow_context_upload;

    cs_option_list methods; /**< names as typed */

    double strength;
    int32_t T;
    double alpha;
    double beta;
    double lambda;
    double eta;
    double plausibility;
    double divergence;
    double support_top_p;
    const char *gate; /**< NULL: the method's own */
    double gate_threshold;
    int32_t gate_patience;
    int32_t base_top_k;
    bool constant_k;
    bool require_certified;

    costeer_sampler_params sampler;
    int32_t max_tokens;
    cs_option_list stop;

    bool is_chat;    /**< questions are read one after the other; not an option */
    bool no_history; /* chat */
    bool json;
    const char *trace;
    const char *audit;
    const char *output;
    const char *log_level;
    bool quiet;
    bool verbose;
} cs_settings;

extern const cs_option_group cs_group_input;
extern const cs_option_group cs_group_models;
extern const cs_option_group cs_group_cloud;
extern const cs_option_group cs_group_method;  /**< one, for generate */
extern const cs_option_group cs_group_methods; /**< several, for compare and eval */
extern const cs_option_group cs_group_steering;
extern const cs_option_group cs_group_answer;
extern const cs_option_group cs_group_output;
extern const cs_option_group cs_group_input_chat;  /**< without the query's */
extern const cs_option_group cs_group_output_chat; /**< without those of a single answer */

/**
 * Check the options against each other, fill in what depends on the machine, and set where the library's messages go.
 *
 * @param slm_steers  the contexts steer the LLM through the SLM in one of the methods at least (methods.h): it can draft, and go
 *                    on alone
 * @return an exit code
 */
int cs_settings_resolve(cs_settings *settings, const cs_arguments *arguments, bool slm_steers);

/** The part of it that concerns the cloud (settings_cloud.c). */
int cs_settings_resolve_cloud(cs_settings *settings, const cs_arguments *arguments, bool slm_steers);

/** True with --thinking on. */
bool cs_settings_thinks(const cs_settings *settings);

/** Tokens of reasoning and answer that must fit the models beside the prompt. */
int32_t cs_settings_positions_max(const cs_settings *settings);

/** How the vocabularies are to be brought together. */
costeer_vocab_mode cs_settings_vocab(const cs_settings *settings);

/** True when --cloud names an engine with an API of its own, and not a node. */
bool cs_settings_is_engine(const cs_settings *settings);

/** How far the node may go without being told. */
costeer_cloud_mode cs_settings_mode(const cs_settings *settings);

/** True when drafts are made with the contexts. */
bool cs_settings_drafts_privately(const cs_settings *settings);

/** Drafts that the SLM is asked for at a time; 0: none. */
int32_t cs_settings_n_drafts(const cs_settings *settings);

/**
 * The part of it that does not concern steering.
 *
 * @param n_spare  cores that the LLM's threads leave to others when --threads-llm is not given
 */
void cs_settings_prepare(cs_settings *settings, int n_spare);

/** The session parameters that the settings give; what depends on the method, callbacks and the chat are left to the caller. */
costeer_session_params cs_settings_session(const cs_settings *settings);

#endif
