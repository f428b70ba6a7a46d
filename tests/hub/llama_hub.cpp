// What llama.cpp does with the hub and its cache, for comparison: its `common` library behind a command line.
//
//   llama_hub pull REPO[:TAG]    download as -hf does, and print the path
//   llama_hub find REPO[:TAG]    print the path that is in the cache, or an empty line
//   llama_hub list               print what -cl lists
//   llama_hub choose             read lines "REPO TAG" ("-": none); print what llama.cpp and costeer choose there, a tab between
//   them
#include "common.h"
#include "download.h"
#include "hf-cache.h"

extern "C" {
#include "hub/hub_name.h"
}

#include <cstdio>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

static int pull(const std::string &name)
{
    common_params_model model;
    model.hf_repo = name;
    const auto plan = common_download_get_hf_plan(model, {});
    std::vector<common_download_task> tasks;
    for (const auto &file : plan.model_files) {
        tasks.emplace_back(file, common_download_opts{});
    }
    common_download_run_tasks(tasks);
    for (const auto &file : plan.model_files) {
        hf_cache::finalize_file(file);
    }
    std::puts(plan.primary.final_path.c_str());
    return plan.model_files.empty() ? 1 : 0;
}

static void choose(const std::string &repo, const std::string &tag)
{
    const auto files = hf_cache::get_cached_files(repo);
    std::vector<const char *> paths;
    for (const auto &file : files) {
        paths.push_back(file.path.c_str());
    }
    const size_t ours = cs_hub_choose(paths.data(), paths.size(), tag.c_str());
    const std::string theirs = common_download_resolve_path(tag.empty() ? repo : repo + ":" + tag);
    std::printf("%s\t%s\n", theirs.c_str(), ours < files.size() ? files[ours].local_path.c_str() : "");
}

static int run(const std::vector<std::string> &args)
{
    if (args.size() == 2 && args[0] == "pull") {
        return pull(args[1]);
    }
    if (args.size() == 2 && args[0] == "find") {
        std::puts(common_download_resolve_path(args[1]).c_str());
        return 0;
    }
    if (args.size() == 1 && args[0] == "list") {
        for (const auto &model : common_list_cached_models()) {
            std::puts(model.to_string().c_str());
        }
        return 0;
    }
    if (args.size() == 1 && args[0] == "choose") {
        for (std::string repo, tag; std::cin >> repo >> tag;) {
            choose(repo, tag == "-" ? "" : tag);
        }
        return 0;
    }
    std::fputs("see the head of llama_hub.cpp\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    try {
        return run(std::vector<std::string>(argv + 1, argv + argc));
    } catch (const std::exception &error) {
        std::fprintf(stderr, "llama_hub: %s\n", error.what());
        return 1;
    }
}
