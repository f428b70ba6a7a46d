/*
 * What translate.c asks of a costeer_vocab_map: partners and spellings (map), and masses over the byte trie (byte).
 *
 * Masses: an event is "the text goes on with these bytes". The SLM's tokens that begin with the bytes of an LLM token, or are a
 * prefix of them, count for it. Where the text ends inside a word, the SLM may as well have taken a token that crosses the end:
 * those count too, with the bytes before the end (pending) taken off (Phan et al., Exact Byte-Level Probabilities from Tokenized
 * Language Models, arXiv 2410.09303; Vieira et al., From Language Models over Tokens to Language Models over Characters).
 */
#ifndef CS_CORE_VOCAB_TABLES_H
#define CS_CORE_VOCAB_TABLES_H

#include <costeer/vocab.h>

/** [n_llm] what costeer_vocab_map_partner() tells, for gathering whole rows. NULL for SAME. */
const int32_t *cs_vocab_map_partners(const costeer_vocab_map *map);

int32_t cs_vocab_map_n_llm(const costeer_vocab_map *map);
int32_t cs_vocab_map_n_slm(const costeer_vocab_map *map);

/** The SLM's tokens that spell an LLM token's bytes (map modes, where the SLM follows tokens): its exact partner alone, else
 * longest pieces first. Returns how many; 0: the token has no bytes and no partner. *tokens points into the map. */
size_t cs_vocab_map_spelling(const costeer_vocab_map *map, int32_t llm_token, const int32_t **tokens);

/** [n] the SLM's tokens that end generation. */
const int32_t *cs_vocab_map_slm_ends(const costeer_vocab_map *map, size_t *n);

/** True when the LLM's token ends generation. */
bool cs_vocab_map_is_end(const costeer_vocab_map *map, int32_t llm_token);

/**
 * The bytes of an LLM token as they appear in text; *n = 0: special, or out of range. Points into the map. (Asked for by
 * translate.c: in mode BYTE the SLM follows the text, and nobody else there knows the LLM's tokens.)
 */
const char *cs_vocab_map_bytes(const costeer_vocab_map *map, int32_t llm_token, size_t *n);

/** The LLM's token of exactly these bytes of an SLM token, -1: none (for choosing by the SLM alone). */
const int32_t *cs_vocab_map_exact(const costeer_vocab_map *map); /* [n_llm] SLM token of the very same bytes (or role), −1 none */

/* ---- byte: which tokens the SLM may say (vocab_covers.c) ----------------------------------------------------------- */

/**
 * The SLM's likeliest text token that agrees with the bytes: begins with them, or is what they begin with.
 *
 * @param logits  [>= n_slm]
 * @param but     [n_but] tokens to leave out
 * @return −1: none
 */
int32_t cs_vocab_map_likeliest(const costeer_vocab_map *map, const float *logits, const char *bytes, size_t n, const int32_t *but,
                               size_t n_but);

/** How many strings of both vocabularies begin with the bytes and are longer. */
int32_t cs_vocab_map_count_longer(const costeer_vocab_map *map, const char *bytes, size_t n);

/* ---- byte: one distribution over what follows the text, from one or more rows of logits ---------------------------- */

/** Working memory of one pass; one per thread. */
typedef struct cs_vocab_mass cs_vocab_mass;

costeer_err cs_vocab_mass_create(const costeer_vocab_map *map, cs_vocab_mass **out, costeer_error *err);
void cs_vocab_mass_free(cs_vocab_mass *mass);

/** Begin a new distribution. */
void cs_vocab_mass_begin(cs_vocab_mass *mass);

/**
 * Add the tokens that may follow the end of the text: each counts exp(log_weight) · softmax(logits)[token].
 *
 * @param logits  [>= n_slm] of the SLM behind the text's last token
 */
void cs_vocab_mass_add(cs_vocab_mass *mass, const float *logits, double log_weight);

/**
 * Add the tokens that cross the end of the text: those that begin with the pending bytes and are longer, as what is behind them.
 *
 * @param logits   [>= n_slm] of the SLM behind the token before the pending bytes
 * @param pending  [n_pending], n_pending >= 1
 */
void cs_vocab_mass_add_crossing(cs_vocab_mass *mass, const float *logits, double log_weight, const char *pending,
                                size_t n_pending);

/**
 * Add the tokens that may follow some bytes behind the end of the text: each counts as the bytes with the token's behind them.
 *
 * For when the SLM was asked what it would say behind a token that it is likely to say next. (Added with translate_byte.c.)
 *
 * @param logits  [>= n_slm] of the SLM behind those bytes
 * @param ahead   [n_ahead], 1 <= n_ahead <= COSTEER_PIECE_MAX
 */
void cs_vocab_mass_add_behind(cs_vocab_mass *mass, const float *logits, double log_weight, const char *ahead, size_t n_ahead);

/**
 * Write the log of each LLM token's mass; −inf for none. End tokens get the mass of all of the SLM's end tokens (of what was
 * added with cs_vocab_mass_add); tokens without bytes get the total, which makes their delta neutral.
 *
 * @param[out] out  [n_llm]
 */
void cs_vocab_mass_finish(cs_vocab_mass *mass, float *out);

/**
 * Write a distribution instead: each LLM token gets the mass of what begins with it and with no longer LLM token, so that
 * writing the likeliest says what the SLM would say. −inf for tokens without bytes and for all but one of the same bytes;
 * exp(−60) of the total for what got none.
 *
 * @param[out] out  [n_llm]
 */
void cs_vocab_mass_finish_longest(cs_vocab_mass *mass, float *out);

/**
 * The log of all mass that was added since cs_vocab_mass_begin(). (Asked for by translate.c, which takes it off: a token that the
 * SLM cannot form has a delta of 0, and that must be neutral.)
 */
double cs_vocab_mass_total(const cs_vocab_mass *mass);

#endif
