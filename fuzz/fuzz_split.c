/*
 * Splitting a text into parts (src/core/select_split.c, select_sentence.c, select_json.c): what is not UTF-8 is refused; of any
 * other text the parts are in order, apart, whole characters, within the limit, and all chosen parts can be joined.
 */
#include <costeer/select.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_split: %s\n", what);
        abort();
    }
}

static bool is_inside(const char *text, size_t at, size_t n)
{
    return at < n && ((unsigned char)text[at] & 0xC0) == 0x80;
}

static void check_parts(const char *text, size_t n, const costeer_parts *parts)
{
    size_t at = 0;
    check(parts->n <= COSTEER_PARTS_MAX, "too many parts");
    for (size_t i = 0; i < parts->n; i++) {
        const costeer_part *part = &parts->items[i];
        check(part->begin >= at && part->begin < part->end && part->end <= n, "parts overlap, or are empty");
        check(part->heading >= -1 && part->heading < (int32_t)i, "a heading that does not come before");
        check(i == 0 || part->block >= part[-1].block, "blocks go back");
        check(!is_inside(text, part->begin, n) && !is_inside(text, part->end, n), "a character is cut");
        at = part->end;
    }
}

/* All that can be chosen: every part's bytes are in the text that is made of them. */
static void check_joined(const char *text, const costeer_parts *parts)
{
    char *joined = NULL;
    bool *is_used = malloc(parts->n + 1);
    check(is_used != NULL, "out of memory");
    memset(is_used, 1, parts->n);
    check(costeer_parts_join(text, parts, is_used, &joined, NULL) == COSTEER_OK, "parts cannot be joined");
    const char *rest = joined;
    for (size_t i = 0; i < parts->n; i++) {
        const size_t n = parts->items[i].end - parts->items[i].begin;
        while (strlen(rest) >= n && memcmp(rest, text + parts->items[i].begin, n) != 0) {
            rest++;
        }
        check(strlen(rest) >= n, "a part is not in the text of all parts");
        rest += n;
    }
    free(joined);
    free(is_used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    costeer_parts parts = {.n = 0};
    char *text = malloc(size + 1);
    check(text != NULL, "out of memory");
    memcpy(text, data, size);
    text[size] = '\0';
    const costeer_err code = costeer_parts_split(text, size, &parts, NULL);
    check(code == COSTEER_OK || (code == COSTEER_EUTF8 && parts.n == 0), "another error than that of UTF-8");
    check_parts(text, size, &parts);
    if (memchr(text, '\0', size) == NULL) {
        check_joined(text, &parts);
    }
    costeer_parts_dispose(&parts);
    free(text);
    return 0;
}
