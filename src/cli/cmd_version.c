/* costeer version: what a bug report needs. */
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/message.h"

#include <costeer/steer.h>
#include <costeer/version.h>
#include <stddef.h>

typedef struct version_settings {
    bool json;
} version_settings;

static const cs_option options[] = {
    {.name = "json", .kind = CS_OPTION_FLAG, .offset = offsetof(version_settings, json), .help = "Print one JSON object"},
};

static const cs_option_group group = CS_OPTION_GROUP("Options", options);

static int run(const cs_command *self, int argc, char **argv)
{
    version_settings settings = {0};
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &settings, &arguments, &exit_code)) {
        return exit_code;
    }
    if (arguments.n > 0) {
        return cs_fail(CS_EXIT_USAGE, "version: takes no argument");
    }
    cs_output out;
    cs_output_init_stdout(&out);
    if (settings.json) {
        json_t *object = json_pack("{s:s, s:s, s:s}", "version", costeer_version(), "llama.cpp", costeer_version_llama(), "isa",
                                   costeer_fuse_isa());
        exit_code = cs_json_print(&out, object);
    } else {
        cs_output_print(&out, "costeer %s\nllama.cpp %s\ninstruction set %s\n", costeer_version(), costeer_version_llama(),
                        costeer_fuse_isa());
        exit_code = CS_EXIT_OK;
    }
    int error = cs_output_close(&out);
    return error == 0 ? exit_code : cs_fail_output(out.name, error);
}

const cs_command cs_command_version = {
    .name = "version",
    .summary = "show the versions of program and llama.cpp",
    .description =
        "Prints the program's version, the llama.cpp it is linked with, and the instruction set that fusion uses on this "
        "machine (avx512, avx2 or plain; all give the same tokens).",
    .groups = {&group},
    .run = run,
};
