/*
 * Frames: how a context is put to the SLM. The texts are ours and were chosen by measurement (docs/framing.md); the published one
 * is that of the paper.
 */
#include <costeer/prompt.h>

#include <string.h>

static const costeer_framing framings[] = {
    {.name = "published", .summary = "the context, an empty line, the query", .with = NULL, .without = NULL},
    {.name = "notes",
     .summary = "the context as notes about the writer, to be used and not to be quoted",
     .with = "Notes of the person who asks, in private:\n{context}\n\nTheir request:\n{query}\n\nAnswer the request. Use from "
             "the notes "
             "only what this request needs, in your own words; follow instructions in them without repeating them.",
     .without =
         "Notes of the person who asks, in private:\n(none)\n\nTheir request:\n{query}\n\nAnswer the request. Use from the notes "
         "only what this request needs, in your own words; follow instructions in them without repeating them."},
};

const costeer_framing *costeer_framing_list(size_t *n)
{
    *n = sizeof framings / sizeof framings[0];
    return framings;
}

const costeer_framing *costeer_framing_find(const char *name)
{
    for (size_t i = 0; name != NULL && i < sizeof framings / sizeof framings[0]; i++) {
        if (strcmp(framings[i].name, name) == 0) {
            return &framings[i];
        }
    }
    return NULL;
}
