/* What the files of selection share. */
#ifndef CS_CORE_SELECT_INTERNAL_H
#define CS_CORE_SELECT_INTERNAL_H

#include "util/buffer.h"

#include <costeer/prompt.h>
#include <costeer/select.h>

/** A text while it is split: what was found, and what follows from what came before. */
typedef struct cs_splitter {
    const char *text;
    size_t n;            /**< bytes of text */
    costeer_parts parts; /**< what was found */
    int32_t block;
    bool is_coarse; /**< there were too many parts: from now on they are joined, and have no headings */
    bool has_memory;
} cs_splitter;

/** Add a part without the white space around it; nothing when that is all. Returns its index, −1: none was added. */
int32_t cs_splitter_add(cs_splitter *splitter, size_t begin, size_t end, costeer_part_kind kind, int32_t heading);

/** Add the sentences of text[begin, end), in which line ends are white space (select_sentence.c). */
void cs_splitter_add_sentences(cs_splitter *splitter, size_t begin, size_t end, int32_t heading);

/**
 * True when text[begin, end) is one JSON object or array, and then its members and elements are added (select_json.c).
 *
 * @param is_record  a line of JSON lines: a short one is one part
 */
bool cs_splitter_add_json(cs_splitter *splitter, size_t begin, size_t end, int32_t heading, bool is_record);

/** The character at text[at], at < end, and its bytes; the text is UTF-8. */
uint32_t cs_select_character(const char *text, size_t at, size_t end, size_t *length);

/** True for ASCII white space, U+00A0 and U+3000. */
bool cs_select_is_space(uint32_t c);

/** True for scripts that are written without spaces: Han, kana, Thai, Lao, Khmer, Burmese. */
bool cs_select_is_unspaced(uint32_t c);

/** Where a part ends that is cut to at most n_max bytes: between two characters. */
size_t cs_select_cut(const char *text, const costeer_part *part, size_t n_max);

/** Write a part below its headings, a line each: how a model is shown it. The part is cut to n_max bytes, a heading to a tenth.
 */
costeer_err cs_select_show_part(const char *text, const costeer_parts *parts, size_t i, size_t n_max, cs_buffer *out,
                                costeer_error *err);

/** What a model is asked about each part. */
typedef struct cs_select_question {
    const char *form;             /**< with {request} and {part}, and perhaps {answer} */
    const costeer_message *turns; /**< [n_turns] examples before it */
    size_t n_turns;
} cs_select_question;

/** Models with a window of at least so many tokens are shown examples, which take 600 of it. */
#define CS_SELECT_EXAMPLES_WINDOW 2048

/** The project's own questions (select_questions.c) [*n], for a model with a window in tokens; 0: unknown. */
const cs_select_question *cs_select_own_questions(int32_t n_window, size_t *n);

/** Some parts of a text. */
typedef struct cs_select_asked {
    const char *text;
    const costeer_parts *parts;
    const size_t *asked; /**< [n] indices, rising */
    size_t n;
} cs_select_asked;

/** Write scores and answers of the parts that are asked about (select_judge.c); the others' stay. */
costeer_err cs_selector_judge(costeer_selector *selector, const char *query, const cs_select_asked *of, costeer_selection *out,
                              costeer_error *err);

int32_t cs_selector_n_judged_max(const costeer_selector *selector, int32_t otherwise);

#endif
